"""Whole recordings in windows: what a batch gives is what the model gives, window by
window, and it is told how."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ecgnb.core.errors import ConfigError, EcgnbError, ReadError
from ecgnb.data.config import PrepareConfig
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.data.signal.standardise import standardise_windows
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import load_bundle, save_bundle
from ecgnb.deploy.inference import (
    Inference,
    infer,
    model_fingerprint,
    peak_memory_mb,
    predict_recordings,
)
from ecgnb.models import build_model
from ecgnb.models.ecg_fm import EcgFM
from ecgnb.transforms.pipeline import build_pipeline

CLASSES = ("NORM", "AF", "MI")
#: At 100, 400, 500 and 1000 Hz, from 6 to 120 s; some cannot be used.
REAL = (
    "cinc2020_2021/A*.hea",
    "cinc2020_2021/E*.hea",
    "cinc2020_2021/S*.hea",
    "code15_chagas/*.hea",
    "code15_chagas/doctored_edge_cases/*.hea",
    "ludb/data/*.hea",
    "cinc2011_quality/*.hea",
    "cpsc2021/*.hea",
    "ptbxl/records100/00000/*.hea",
)


def make_bundle(
    task: str = "multilabel",
    aggregate: tuple[str, ...] = ("mean", "max", "mean"),
    **changes,
) -> Bundle:
    """A network over 5 s with weights of chance, whose outputs differ enough to tell
    windows apart."""
    torch.manual_seed(1)
    words = {
        "n_leads": 12,
        "n_samples": 2500,
        "fs": 500.0,
        "n_classes": 3,
        "leads": STANDARD_12,
        "task": task,
    }
    model = build_model(
        "resnet1d", **words, widths=(8, 12), depths=(1, 1), norm="group"
    ).eval()
    with torch.no_grad():
        model.head.classifier.weight.mul_(20.0)
    recipe = {"crop": "start", "resampling": "linear", "filters": ("zscore",)}
    prepare = PrepareConfig(target_samples=2500, leads=STANDARD_12, **recipe)
    given = {"temperature": 1.5, "aggregate": aggregate, **changes}
    return Bundle(model, CLASSES, task, prepare, build_pipeline([]), **given)


def noise(
    seconds: float, fs: float = 500, name: str = "noise", seed: int = 0
) -> Recording:
    signal = (
        np.random.default_rng(seed)
        .normal(size=(12, round(seconds * fs)))
        .cumsum(axis=1)
    )
    return Recording((signal / 50).astype(np.float32), float(fs), STANDARD_12, name)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_bundle()


@pytest.fixture(scope="module")
def files(data_dir: Path) -> list[Path]:
    """Real recordings of several sources, some of which cannot be used."""
    found = [path for pattern in REAL for path in sorted(data_dir.glob(pattern))[:3]]
    assert len(found) >= 20
    return found


@pytest.fixture(scope="module")
def real(bundle: Bundle, files: list[Path]) -> Inference:
    return infer(bundle, files, embeddings=True, batch_size=7)


def usable(result: Inference) -> pd.DataFrame:
    return result.table[result.table["problem"] == ""]


def probabilities(table: pd.DataFrame) -> np.ndarray:
    return table[list(CLASSES)].to_numpy(dtype=float)


@torch.inference_mode()
def one_by_one(bundle: Bundle, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and embeddings of a recording's windows, with nothing of
    what is tested here."""
    signals = [
        window.signal for window in standardise_windows(recording, bundle.prepare)
    ]
    features = [
        bundle.model.forward_features(torch.from_numpy(signal.copy())[None])
        for signal in signals
    ]
    logits = (
        np.array([bundle.model.head(each)[0].double().numpy() for each in features])
        / bundle.temperature
    )
    embedded = np.array([bundle.model.head.embed(each)[0].numpy() for each in features])
    return 1 / (1 + np.exp(-logits)), embedded


def test_inference_of_real_recordings_is_that_of_their_windows_one_by_one(
    bundle, files, real
) -> None:
    assert len(usable(real)) >= 10 and len(real.windows) > 20, (
        "too few recordings for this test to mean anything"
    )
    place = {
        record_id: number for number, record_id in enumerate(real.table["record_id"])
    }
    for file in files:
        row = real.table.iloc[place[file.stem]]
        mine = (real.windows["record_id"] == file.stem).to_numpy()
        if row["problem"]:
            assert not mine.any()
            continue
        expected, embedded = one_by_one(bundle, read_recording(file))
        np.testing.assert_allclose(
            probabilities(real.windows[mine]), expected, atol=1e-6
        )
        np.testing.assert_allclose(
            real.embeddings[mine], embedded, atol=1e-5 * np.abs(embedded).max()
        )
        joined = np.array(
            [expected[:, 0].mean(), expected[:, 1].max(), expected[:, 2].mean()]
        )
        np.testing.assert_allclose(
            row[list(CLASSES)].to_numpy(dtype=float), joined, atol=1e-6
        )
        called = "|".join(
            name for name, value in zip(CLASSES, joined, strict=True) if value >= 0.5
        )
        assert row["prediction"] == called
    spread = real.windows.groupby("record_id")[list(CLASSES)].agg(np.ptp).max().max()
    assert spread > 0.05, (
        "windows of a recording must differ, or mean and maximum cannot be told apart"
    )


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_inference_does_not_depend_on_who_shares_a_batch(
    bundle, files, real, batch_size
) -> None:
    mixed = infer(bundle, files[::-1], embeddings=True, batch_size=batch_size)
    assert list(mixed.table["record_id"]) == list(real.table["record_id"][::-1])
    ours, theirs = (
        each.table.set_index("record_id").loc[list(real.table["record_id"])]
        for each in (real, mixed)
    )
    np.testing.assert_allclose(
        probabilities(ours), probabilities(theirs), rtol=0, atol=1e-6
    )
    keys = ["record_id", "window"]
    ours_w, theirs_w = (
        each.windows.reset_index().set_index(keys).sort_index()
        for each in (real, mixed)
    )
    assert ours_w.index.equals(theirs_w.index)
    np.testing.assert_allclose(
        probabilities(ours_w), probabilities(theirs_w), rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(
        real.embeddings[ours_w["index"]],
        mixed.embeddings[theirs_w["index"]],
        rtol=0,
        atol=1e-6 * real.embeddings.max(),
    )
    np.testing.assert_allclose(
        probabilities(predict_recordings(bundle, files)),
        probabilities(real.table),
        rtol=0,
        atol=1e-6,
    )


def test_inference_says_which_seconds_a_window_is_and_what_was_left_out(bundle) -> None:
    found = infer(
        bundle,
        [
            noise(12, name="a"),
            noise(3, name="b"),
            noise(10.02, name="c"),
            noise(10, 400, "d"),
        ],
    )
    assert list(found.table["flags"]) == [
        "tail_dropped:2 s",
        "padded:3 s to 5 s",
        "",
        "",
    ]
    assert list(found.table["seconds"]) == [10, 3, 10, 10]
    rows = (
        found.windows[["record_id", "window", "start_s", "end_s"]].to_numpy().tolist()
    )
    pairs = [
        [name, number, 5.0 * number, 5.0 * number + 5]
        for name in "acd"
        for number in (0, 1)
    ]
    assert rows == [*pairs[:2], ["b", 0, 0.0, 3.0], *pairs[2:]]


def test_inference_with_a_bundle_of_one_crop_names_the_crop(bundle) -> None:
    prepare = dataclasses.replace(
        bundle.prepare, crop="center", filters=(), resampling="filter"
    )
    crop = dataclasses.replace(
        bundle, aggregate=(), prepare=prepare, transforms=build_pipeline(["zscore"])
    )
    recordings = [noise(12, name="a"), noise(3, name="b"), noise(5, name="c")]
    found = infer(crop, recordings)
    assert found.windows[["window", "start_s", "end_s"]].to_numpy().tolist() == [
        [0, 3.5, 8.5],
        [0, 0, 3],
        [0, 0, 5],
    ]
    assert list(found.table["flags"]) == [
        "cropped:12 s to 5 s",
        "padded:3 s to 5 s",
        "",
    ]
    np.testing.assert_array_equal(
        probabilities(found.windows), probabilities(found.table)
    )
    pd.testing.assert_frame_equal(
        found.table, predict_recordings(crop, recordings), atol=1e-6
    )


def seen_by(bundle: Bundle, *arguments, **options) -> list[torch.Tensor]:
    """Return the batches that a model gets."""
    seen: list[torch.Tensor] = []
    handle = bundle.model.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].clone())
    )
    try:
        infer(bundle, *arguments, **options)
    finally:
        handle.remove()
    return seen


@pytest.mark.parametrize("step", ["filter", "transform"])
def test_inference_pads_a_short_recording_with_the_mean_of_its_leads(
    bundle, step
) -> None:
    """After a z-score zero is the mean, whether the whole recording was scored or what
    is no padding."""
    changes = {
        "prepare": dataclasses.replace(bundle.prepare, filters=()),
        "transforms": build_pipeline(["zscore"]),
    }
    (x,) = seen_by(
        bundle if step == "filter" else dataclasses.replace(bundle, **changes), noise(3)
    )
    assert x.shape == (1, 12, 2500) and not x[..., 1500:].any()
    np.testing.assert_allclose(x[..., :1500].mean(-1).numpy(), 0.0, atol=1e-6)
    np.testing.assert_allclose(
        x[..., :1500].std(-1, correction=0).numpy(), 1.0, atol=1e-4
    )


def test_inference_fills_its_batches_with_whosever_windows(bundle) -> None:
    recordings = [noise(10, seed=0), noise(16, seed=1), noise(10, seed=2)]
    assert [len(x) for x in seen_by(bundle, recordings, batch_size=5)] == [5, 2]
    assert [len(x) for x in seen_by(bundle, recordings[1], batch_size=2)] == [2, 1]
    assert [len(x) for x in seen_by(bundle, recordings)] == [7]


def test_inference_keeps_the_row_of_a_bad_recording_and_nothing_else_of_it(
    bundle, tmp_path: Path
) -> None:
    good, flat = (
        noise(12, name="good"),
        dataclasses.replace(noise(10), signal=np.ones((12, 5000), np.float32)),
    )
    gap = dataclasses.replace(noise(20, name="gap"), signal=noise(20).signal.copy())
    gap.signal[3, 8000:9000] = np.nan
    bad = [flat, tmp_path / "nowhere.hea", gap]
    found = infer(bundle, [bad[0], good, *bad[1:], good], embeddings=True)
    assert list(found.table["record_id"]) == ["noise", "good", "nowhere", "gap", "good"]
    assert [bool(problem) for problem in found.table["problem"]] == [
        True,
        False,
        True,
        True,
        False,
    ]
    assert (
        "constant" in found.table["problem"][0] and "NaN" in found.table["problem"][3]
    )
    assert (
        list(found.windows["record_id"]) == ["good"] * 4 and len(found.embeddings) == 4
    )
    np.testing.assert_allclose(
        found.embeddings[:2], infer(bundle, good, embeddings=True).embeddings, atol=1e-5
    )
    assert (
        found.record["recordings"],
        found.record["problems"],
        found.record["windows"],
    ) == (5, 3, 4)
    for source in bad:
        with pytest.raises(ReadError):
            infer(bundle, source)


def test_inference_flags_what_is_doubtful_in_every_kind_of_bundle(bundle) -> None:
    doubtful = noise(12)
    doubtful.signal[6] = 0.25
    doubtful.signal[0, 5500:5510] = np.nan
    for each in (bundle, dataclasses.replace(bundle, aggregate=())):
        flags = infer(each, doubtful).table["flags"][0].split(";")
        assert {"nan_repaired", "flat_leads:V1"} <= set(flags)


def test_inference_does_not_let_an_overflow_spoil_the_batch(bundle) -> None:
    raw = dataclasses.replace(
        bundle, prepare=dataclasses.replace(bundle.prepare, filters=())
    )
    huge = dataclasses.replace(
        noise(10, name="huge"), signal=noise(10).signal * np.float32(1e37)
    )
    found = infer(
        raw, [noise(10, name="a"), huge, noise(10, name="b", seed=2)], embeddings=True
    )
    assert [bool(problem) for problem in found.table["problem"]] == [False, True, False]
    assert "NaN or infinite" in found.table["problem"][1]
    assert (
        list(found.windows["record_id"]) == ["a", "a", "b", "b"]
        and np.isfinite(found.embeddings).all()
    )
    alone = infer(raw, noise(10, name="b", seed=2))
    np.testing.assert_allclose(
        probabilities(found.table)[2], probabilities(alone.table)[0], atol=1e-6
    )
    with pytest.raises(EcgnbError, match="NaN or infinite"):
        infer(raw, huge)


def test_inference_of_classes_that_exclude_each_other_sums_to_one(files) -> None:
    for rules in (("mean",) * 3, ("max", "mean", "max")):
        found = infer(make_bundle("multiclass", rules), files)
        values = probabilities(usable(found))
        np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-12)
        assert list(usable(found)["prediction"]) == [
            CLASSES[number] for number in values.argmax(axis=1)
        ]
        groups = found.windows.groupby("record_id", sort=False)[list(CLASSES)]
        joined = groups.agg(dict(zip(CLASSES, rules, strict=True))).to_numpy()
        np.testing.assert_allclose(
            values, joined / joined.sum(axis=1, keepdims=True), atol=1e-12
        )


def test_inference_applies_thresholds_to_what_was_joined(bundle) -> None:
    recording = noise(15)
    windows = probabilities(infer(bundle, recording).windows)
    joined = np.array([windows[:, 0].mean(), windows[:, 1].max(), windows[:, 2].mean()])
    assert np.ptp(windows, axis=0).min() > 2e-3
    for side, called in ((-1e-6, "|".join(CLASSES)), (1e-6, "")):
        changed = dataclasses.replace(bundle, thresholds=tuple(joined + side))
        assert infer(changed, recording).table["prediction"][0] == called


def test_inference_of_a_model_without_a_classifier_gives_embeddings_of_all_windows() -> (
    None
):
    torch.manual_seed(0)
    options = {
        "dim": 16,
        "depth": 1,
        "n_heads": 2,
        "ffn": 32,
        "conv_layers": [[8, 4, 4], [8, 4, 4]],
    }
    words = {
        "n_leads": 12,
        "n_samples": 2500,
        "fs": 500.0,
        "n_classes": 0,
        "leads": STANDARD_12,
    }
    model = EcgFM(**words, **options, position_kernel=8, position_groups=2).eval()
    encoder = Bundle(model, (), "multilabel", make_bundle().prepare, build_pipeline([]))
    recording = noise(12)
    for asked in (True, False):
        found = infer(encoder, [recording, noise(0.5, name="short")], embeddings=asked)
        assert list(found.table.columns) == ["record_id", "seconds", "flags", "problem"]
        assert list(found.windows.columns) == [
            "record_id",
            "window",
            "start_s",
            "end_s",
        ]
        assert (
            found.embeddings.shape == (2, 16) and found.embeddings.dtype == np.float32
        )
        signals = [
            torch.from_numpy(window.signal)
            for window in standardise_windows(recording, encoder.prepare)
        ]
        with torch.inference_mode():
            expected = model.embed(torch.stack(signals)).numpy()
        np.testing.assert_allclose(found.embeddings, expected, atol=1e-6)
    with pytest.raises(ConfigError, match=r"no classifier.*embeddings"):
        predict_recordings(encoder, recording)


def test_inference_refuses_other_leads_where_a_bundle_does_not_name_them(
    bundle,
) -> None:
    nameless = dataclasses.replace(
        bundle, prepare=dataclasses.replace(bundle.prepare, leads=())
    )
    few = dataclasses.replace(
        noise(10, name="few"), signal=noise(10).signal[:3], leads=("I", "II", "V1")
    )
    found = infer(nameless, [few, noise(10)])
    assert (
        "has 3 leads, the model takes 12" in found.table["problem"][0]
        and found.table["problem"][1] == ""
    )


def test_inference_tells_files_of_one_name_apart(bundle, tmp_path: Path) -> None:
    for folder in ("p1", "p2"):
        (tmp_path / folder).mkdir()
        np.savez(
            tmp_path / folder / "ecg.npz",
            signal=noise(5).signal,
            fs=500,
            leads=np.array(STANDARD_12),
            units="mV",
        )
    paths = [tmp_path / folder / "ecg.npz" for folder in ("p1", "p2")]
    found = infer(bundle, [*paths, tmp_path / "p3" / "ecg.npz"])
    assert list(found.table["record_id"]) == [
        path.as_posix() for path in (*paths, tmp_path / "p3" / "ecg.npz")
    ]
    assert list(found.windows["record_id"]) == [path.as_posix() for path in paths]
    assert list(predict_recordings(bundle, [paths[0], paths[0]])["record_id"]) == [
        "ecg",
        "ecg",
    ]


def test_inference_runs_in_the_precision_of_the_model(bundle) -> None:
    wide = dataclasses.replace(make_bundle(), model=make_bundle().model.double())
    single, double = (
        infer(each, noise(10), embeddings=True) for each in (bundle, wide)
    )
    assert (single.record["precision"], double.record["precision"]) == (
        "float32",
        "float64",
    )
    assert single.record["device"] == "cpu" and double.embeddings.dtype == np.float32
    np.testing.assert_allclose(
        probabilities(double.table), probabilities(single.table), atol=1e-5
    )
    assert (probabilities(double.table) != probabilities(single.table)).any()


def test_inference_refuses_a_batch_of_nothing(bundle) -> None:
    with pytest.raises(ConfigError, match="batch_size is 0"):
        infer(bundle, noise(10), batch_size=0)
    empty = infer(bundle, [], embeddings=True)
    assert empty.table.empty and empty.windows.empty and len(empty.embeddings) == 0
    assert (
        empty.record["windows_per_second"] is None
        or empty.record["windows_per_second"] == 0
    )


def test_record_has_what_is_needed_to_do_it_again(bundle, real, files) -> None:
    record = json.loads(json.dumps(real.record))
    assert record["model"] == {
        "name": "resnet1d",
        "fingerprint": model_fingerprint(bundle.model),
    }
    assert (
        record["recipe"]["prepare"]["resampling"] == "linear"
        and record["recipe"]["aggregate"][1] == "max"
    )
    assert record["recipe"]["temperature"] == 1.5 and record["batch_size"] == 7
    assert record["recordings"] == len(files) and record["windows"] == len(
        real.windows
    ) == len(real.embeddings)
    assert record["problems"] == len(files) - len(usable(real))
    assert (
        record["versions"]["torch"] == torch.__version__
        and record["versions"]["numpy"] == np.__version__
    )
    assert all(value > 0 for value in record["seconds"].values()) and set(
        record["seconds"]
    ) == {"reading", "model"}
    assert pd.Timestamp(record["utc"]).utcoffset().total_seconds() == 0


def test_record_peak_memory_is_what_the_system_says() -> None:
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("only Linux tells it a second time")
    told = next(
        line
        for line in status.read_text(encoding="utf-8").splitlines()
        if line.startswith("VmHWM")
    )
    assert peak_memory_mb() == pytest.approx(int(told.split()[1]) * 1024 / 1e6, abs=5)


def test_fingerprint_is_of_the_model_and_of_nothing_else(
    bundle, tmp_path: Path
) -> None:
    own = model_fingerprint(bundle.model)
    assert own == model_fingerprint(
        load_bundle(save_bundle(bundle, tmp_path / "b")).model
    )
    assert len(own) == 64 and own == model_fingerprint(
        make_bundle(temperature=3.0).model
    )
    changed = make_bundle().model
    with torch.no_grad():
        bias = changed.head.classifier.bias
        bias[0] = torch.nextafter(bias[0], torch.tensor(torch.inf))
    assert model_fingerprint(changed) != own, "one bit of one weight"
    words = {
        "n_leads": 12,
        "n_samples": 2500,
        "fs": 500.0,
        "n_classes": 3,
        "leads": STANDARD_12,
    }
    other = build_model(
        "resnet1d",
        **words,
        task="multilabel",
        widths=(8, 12),
        depths=(1, 1),
        norm="group",
        dropout=0.5,
    )
    other.load_state_dict(bundle.model.state_dict())
    assert model_fingerprint(other) != own, "the same weights in another model"


def test_saved_files_hold_what_was_found(real, bundle, tmp_path: Path) -> None:
    folder = real.save(tmp_path / "out")
    names = [
        "embeddings.npy",
        "inference.json",
        "predictions.csv",
        "predictions.json",
        "windows.csv",
    ]
    assert sorted(path.name for path in folder.iterdir()) == names
    windows = pd.read_csv(folder / "windows.csv", dtype={"record_id": str})
    np.testing.assert_array_equal(
        np.load(folder / "embeddings.npy", allow_pickle=False), real.embeddings
    )
    assert len(windows) == len(real.embeddings) and list(windows["record_id"]) == list(
        real.windows["record_id"]
    )
    np.testing.assert_allclose(
        probabilities(windows), probabilities(real.windows), rtol=1e-12
    )
    rows = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    assert [row["record_id"] for row in rows] == list(real.table["record_id"])
    for row, (_, kept) in zip(rows, real.table.iterrows(), strict=True):
        assert row["NORM"] == (None if kept["problem"] else kept["NORM"])
    assert json.loads((folder / "inference.json").read_text(encoding="utf-8"))[
        "windows"
    ] == len(windows)
    infer(bundle, noise(10)).save(folder)
    assert not (folder / "embeddings.npy").exists(), (
        "embeddings of another inference must not lie beside its windows"
    )


def test_from_a_raw_recording_to_the_labels_of_ecg_fm(golden_dir: Path) -> None:
    """The published preprocessing, a model of the original trainer, windows and their
    aggregation in one go."""
    from ecgnb.deploy.opening import bundle_of_ecg_fm
    from ecgnb.foundation.ecg_fm_checkpoint import load_ecg_fm

    golden = np.load(golden_dir / "ecg_fm" / "preprocess.npz")
    model = load_ecg_fm(golden_dir / "ecg_fm" / "finetuned.pt")
    bundle = bundle_of_ecg_fm(model)
    found = infer(
        bundle, Recording(golden["raw"], 400.0, STANDARD_12, "code15"), embeddings=True
    )
    published = (
        torch.from_numpy(golden["preprocessed"][:, :5000])
        .reshape(12, 2, 2500)
        .transpose(0, 1)
    )
    with torch.inference_mode():
        expected = model(published).sigmoid().numpy()
        np.testing.assert_allclose(
            found.embeddings, model.embed(published).numpy(), atol=5e-6
        )
    np.testing.assert_allclose(
        found.windows[list(bundle.classes)].to_numpy(), expected, atol=1e-6
    )
    rules = dict(zip(bundle.classes, bundle.aggregate, strict=True))
    assert len(rules) == 17 and sum(rule == "max" for rule in rules.values()) == 5
    for number, (name, rule) in enumerate(rules.items()):
        assert found.table[name][0] == pytest.approx(
            getattr(expected[:, number], rule)(), abs=1e-6
        ), name
    assert (
        found.table["flags"][0] == "tail_dropped:0.24 s"
        and found.table["seconds"][0] == 10
    )
