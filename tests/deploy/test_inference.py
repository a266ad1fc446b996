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
from inference_bundles import CLASSES, make_bundle, noise, probabilities, seen_by
from kills import kill_everywhere

from ecgnb.core.errors import ConfigError, EcgnbError, ReadError
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


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_bundle()


@pytest.fixture(scope="module")
def files(data_dir: Path) -> list[Path]:
    """Real recordings of several sources, some of which cannot be used."""
    outcome = [path for pattern in REAL for path in sorted(data_dir.glob(pattern))[:3]]
    assert len(outcome) >= 20
    return outcome


@pytest.fixture(scope="module")
def real(bundle: Bundle, files: list[Path]) -> Inference:
    return infer(bundle, files, embeddings=True, batch_size=7)


def usable(result: Inference) -> pd.DataFrame:
    return result.table[result.table["problem"] == ""]


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
        np.array([bundle.model.head(item)[0].double().numpy() for item in features])
        / bundle.temperature
    )
    embedded = np.array([bundle.model.head.embed(item)[0].numpy() for item in features])
    return 1 / (1 + np.exp(-logits)), embedded


def test_inference_of_real_recordings_is_that_of_their_windows_one_by_one(
    bundle, files, real
) -> None:
    assert len(usable(real)) >= 10 and len(real.windows) > 20, (
        "too few recordings for this test to mean anything"
    )
    position = {
        record_id: number for number, record_id in enumerate(real.table["record_id"])
    }
    for file in files:
        row = real.table.iloc[position[file.stem]]
        selected = (real.windows["record_id"] == file.stem).to_numpy()
        if row["problem"]:
            assert not selected.any()
            continue
        expected, embedded = one_by_one(bundle, read_recording(file))
        np.testing.assert_allclose(
            probabilities(real.windows[selected]), expected, atol=1e-6
        )
        np.testing.assert_allclose(
            real.embeddings[selected], embedded, atol=1e-5 * np.abs(embedded).max()
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
    expected_values, actual_values = (
        item.table.set_index("record_id").loc[list(real.table["record_id"])]
        for item in (real, mixed)
    )
    np.testing.assert_allclose(
        probabilities(expected_values), probabilities(actual_values), rtol=0, atol=1e-6
    )
    keys = ["record_id", "window"]
    left_windows, right_windows = (
        item.windows.reset_index().set_index(keys).sort_index()
        for item in (real, mixed)
    )
    assert left_windows.index.equals(right_windows.index)
    np.testing.assert_allclose(
        probabilities(left_windows), probabilities(right_windows), rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(
        real.embeddings[left_windows["index"]],
        mixed.embeddings[right_windows["index"]],
        rtol=0,
        atol=1e-6 * real.embeddings.max(),
    )
    np.testing.assert_allclose(
        probabilities(predict_recordings(bundle, files)),
        probabilities(real.table),
        rtol=0,
        atol=1e-6,
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
    outcome = infer(bundle, [bad[0], good, *bad[1:], good], embeddings=True)
    assert list(outcome.table["record_id"]) == [
        "noise",
        "good",
        "nowhere",
        "gap",
        "good",
    ]
    assert [bool(problem) for problem in outcome.table["problem"]] == [
        True,
        False,
        True,
        True,
        False,
    ]
    assert (
        "constant" in outcome.table["problem"][0]
        and "NaN" in outcome.table["problem"][3]
    )
    assert (
        list(outcome.windows["record_id"]) == ["good"] * 4
        and len(outcome.embeddings) == 4
    )
    np.testing.assert_allclose(
        outcome.embeddings[:2],
        infer(bundle, good, embeddings=True).embeddings,
        atol=1e-5,
    )
    assert (
        outcome.record["recordings"],
        outcome.record["problems"],
        outcome.record["windows"],
    ) == (5, 3, 4)
    for source in bad:
        with pytest.raises(ReadError):
            infer(bundle, source)


def test_inference_flags_what_is_doubtful_in_every_kind_of_bundle(bundle) -> None:
    doubtful = noise(12)
    doubtful.signal[6] = 0.25
    doubtful.signal[0, 5500:5510] = np.nan
    for item in (bundle, dataclasses.replace(bundle, aggregate=())):
        flags = infer(item, doubtful).table["flags"][0].split(";")
        assert {"nan_repaired", "flat_leads:V1"} <= set(flags)


def test_inference_does_not_let_an_overflow_spoil_the_batch(bundle) -> None:
    # a recording in a wrong unit, behind a factor that only it cannot bear
    raw = dataclasses.replace(
        bundle,
        prepare=dataclasses.replace(bundle.prepare, filters=()),
        transforms=build_pipeline([{"name": "scale", "factor": 1e32}]),
    )
    huge = dataclasses.replace(
        noise(10, name="huge"), signal=noise(10).signal * np.float32(1e6)
    )
    outcome = infer(
        raw, [noise(10, name="a"), huge, noise(10, name="b", seed=2)], embeddings=True
    )
    assert [bool(problem) for problem in outcome.table["problem"]] == [
        False,
        True,
        False,
    ]
    assert "NaN or infinite" in outcome.table["problem"][1]
    assert (
        list(outcome.windows["record_id"]) == ["a", "a", "b", "b"]
        and np.isfinite(outcome.embeddings).all()
    )
    alone = infer(raw, noise(10, name="b", seed=2))
    np.testing.assert_allclose(
        probabilities(outcome.table)[2], probabilities(alone.table)[0], atol=1e-6
    )
    with pytest.raises(EcgnbError, match="NaN or infinite"):
        infer(raw, huge)


def test_inference_of_classes_that_exclude_each_other_sums_to_one(files) -> None:
    for rules in (("mean",) * 3, ("max", "mean", "max")):
        outcome = infer(make_bundle("multiclass", rules), files)
        values = probabilities(usable(outcome))
        np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-12)
        assert list(usable(outcome)["prediction"]) == [
            CLASSES[number] for number in values.argmax(axis=1)
        ]
        groups = outcome.windows.groupby("record_id", sort=False)[list(CLASSES)]
        joined = groups.agg(dict(zip(CLASSES, rules, strict=True))).to_numpy()
        np.testing.assert_allclose(
            values, joined / joined.sum(axis=1, keepdims=True), atol=1e-12
        )


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
        outcome = infer(
            encoder, [recording, noise(0.5, name="short")], embeddings=asked
        )
        assert list(outcome.table.columns) == [
            "record_id",
            "seconds",
            "flags",
            "problem",
        ]
        assert list(outcome.windows.columns) == [
            "record_id",
            "window",
            "start_s",
            "end_s",
        ]
        assert (
            outcome.embeddings.shape == (2, 16)
            and outcome.embeddings.dtype == np.float32
        )
        signals = [
            torch.from_numpy(window.signal)
            for window in standardise_windows(recording, encoder.prepare)
        ]
        with torch.inference_mode():
            expected = model.embed(torch.stack(signals)).numpy()
        np.testing.assert_allclose(outcome.embeddings, expected, atol=1e-6)
    with pytest.raises(ConfigError, match=r"no classifier.*embeddings"):
        predict_recordings(encoder, recording)


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
    outcome = infer(bundle, [*paths, tmp_path / "p3" / "ecg.npz"])
    assert list(outcome.table["record_id"]) == [
        path.as_posix() for path in (*paths, tmp_path / "p3" / "ecg.npz")
    ]
    assert list(outcome.windows["record_id"]) == [path.as_posix() for path in paths]
    assert list(predict_recordings(bundle, [paths[0], paths[0]])["record_id"]) == [
        "ecg",
        "ecg",
    ]


def test_inference_runs_in_the_precision_of_the_model(bundle) -> None:
    wide = dataclasses.replace(make_bundle(), model=make_bundle().model.double())
    single, double = (
        infer(item, noise(10), embeddings=True) for item in (bundle, wide)
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
    message = next(
        line
        for line in status.read_text(encoding="utf-8").splitlines()
        if line.startswith("VmHWM")
    )
    assert peak_memory_mb() == pytest.approx(
        int(message.split()[1]) * 1024 / 1e6, abs=5
    )


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


def test_a_killed_writer_leaves_no_files_of_two_inferences(
    real, bundle, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    other = infer(bundle, noise(10))
    saved = {path.name: path.read_bytes() for path in other.save(folder).iterdir()}

    def check() -> None:
        files = {path.name: path.read_bytes() for path in folder.glob("[!.]*")}
        is_new = [saved.get(name) == content for name, content in files.items()]
        assert all(is_new) or not any(is_new)
        if "inference.json" in files:
            assert files in (saved, old)
        other.save(folder)
        assert {path.name for path in folder.iterdir()} == set(saved)
        real.save(folder)

    real.save(folder)
    old = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert kill_everywhere(lambda: other.save(folder), check) == 9


def test_from_a_raw_recording_to_the_labels_of_ecg_fm(golden_dir: Path) -> None:
    """The published preprocessing, a model of the original trainer, windows and their
    aggregation in one go."""
    from ecgnb.deploy.opening import bundle_of_ecg_fm
    from ecgnb.foundation.ecg_fm_checkpoint import load_ecg_fm

    golden = np.load(golden_dir / "ecg_fm" / "preprocess.npz")
    model = load_ecg_fm(golden_dir / "ecg_fm" / "finetuned.pt")
    bundle = bundle_of_ecg_fm(model)
    outcome = infer(
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
            outcome.embeddings, model.embed(published).numpy(), atol=5e-6
        )
    np.testing.assert_allclose(
        outcome.windows[list(bundle.classes)].to_numpy(), expected, atol=1e-6
    )
    rules = dict(zip(bundle.classes, bundle.aggregate, strict=True))
    assert len(rules) == 17 and sum(rule == "max" for rule in rules.values()) == 5
    for number, (name, rule) in enumerate(rules.items()):
        assert outcome.table[name][0] == pytest.approx(
            getattr(expected[:, number], rule)(), abs=1e-6
        ), name
    assert (
        outcome.table["flags"][0] == "tail_dropped:0.24 s"
        and outcome.table["seconds"][0] == 10
    )
