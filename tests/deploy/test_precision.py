"""A bundle in lower precision: what the report says is what predictions do, and too
much is refused."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run_in_new_process

from ecgnb.core.errors import CheckpointError, ConfigError, ReadError
from ecgnb.core.files import read_json, write_json
from ecgnb.data.config import PrepareConfig
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import load_bundle, save_bundle
from ecgnb.deploy.inference import predict_recordings
from ecgnb.deploy.opening import bundle_of_ecg_fm
from ecgnb.deploy.precision import PrecisionReport, lower_precision
from ecgnb.foundation.ecg_fm_checkpoint import load_ecg_fm
from ecgnb.models import build_model
from ecgnb.models.lowering import PRECISIONS, n_bytes
from ecgnb.transforms.pipeline import build_pipeline

CLASSES = ("NORM", "AF", "MI")
LOWER = PRECISIONS[1:]


def make_bundle(
    task: str = "multilabel", aggregate: tuple[str, ...] = ("mean", "max", "mean")
) -> Bundle:
    """A transformer with weights of chance whose outputs tell recordings apart."""
    torch.manual_seed(3)
    words = {
        "n_leads": 12,
        "n_samples": 500,
        "fs": 100.0,
        "n_classes": 3,
        "leads": STANDARD_12,
        "task": task,
    }
    options = {
        "dim": 64,
        "depth": 2,
        "n_heads": 4,
        "ffn": 128,
        "conv_layers": ((64, 2, 2),) * 3,
    }
    model = build_model("ecg_fm", **words, **options).eval()
    with torch.no_grad():
        model.head.classifier.weight.mul_(40)
        for layer in model.layers:
            layer.up.weight.mul_(20)
    return Bundle(
        model=model,
        classes=CLASSES,
        task=task,
        prepare=PrepareConfig(
            target_fs=100, target_samples=500, leads=STANDARD_12, crop="start"
        ),
        transforms=build_pipeline(["zscore"]),
        thresholds=(0.4, 0.5, 0.6) if task == "multilabel" else (),
        temperature=1.5,
        aggregate=aggregate,
        metrics={"intervals": []},
        provenance={"run": "demo"},
    )


def recordings(n: int = 3, seconds: float = 12) -> list[Recording]:
    rng = np.random.default_rng(0)
    times = np.arange(int(seconds * 100)) / 100
    made = []
    for number in range(n):
        beats = np.sin(2 * np.pi * (1 + number / 4) * times) ** 15
        signal = (
            beats * rng.normal(size=(12, 1)) + rng.normal(size=(12, len(times))) * 0.1
        )
        made.append(
            Recording(signal.astype(np.float32), 100.0, STANDARD_12, f"r{number}")
        )
    return made


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_bundle()


def probabilities(bundle: Bundle, sources: list) -> np.ndarray:
    return predict_recordings(bundle, sources)[list(bundle.classes)].to_numpy(
        dtype=float
    )


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
@pytest.mark.parametrize("windowed", [True, False])
def test_the_report_says_what_predictions_do(
    precision: str, task: str, windowed: bool
) -> None:
    bundle, sources = (
        make_bundle(task, ("mean", "max", "mean") if windowed else ()),
        recordings(),
    )
    state = copy.deepcopy(bundle.model.state_dict())
    lowered, report = lower_precision(bundle, precision, sources, max_change=1)
    before, after = probabilities(bundle, sources), probabilities(lowered, sources)
    np.testing.assert_allclose(report.before, before, atol=1e-6)
    np.testing.assert_allclose(
        report.after, after, atol=1e-3 if precision == "int8" else 1e-4
    )
    assert np.ptp(before, axis=0).max() > 0.05, "the test would prove nothing"
    change = np.abs(report.after - report.before)
    assert (
        0 < report.largest_change == change.max() < 0.05
        and report.mean_change == pytest.approx(change.mean())
    )
    assert report.record_ids == ("r0", "r1", "r2") and report.n_windows == (
        6 if windowed else 3
    )
    assert report.n_decisions == (9 if task == "multilabel" else 3)
    assert (report.bytes_before, report.bytes_after) == (
        n_bytes(bundle.model),
        n_bytes(lowered.model),
    )
    assert report.bytes_after < 0.75 * report.bytes_before
    assert (
        min(report.seconds_before, report.seconds_after) > 0 and report.device == "cpu"
    )
    assert (bundle.precision, lowered.precision, report.precision) == (
        "float32",
        precision,
        precision,
    )
    assert all(
        torch.equal(value, state[key])
        for key, value in bundle.model.state_dict().items()
    )
    assert "precision" not in bundle.provenance and lowered.provenance["run"] == "demo"
    assert (
        lowered.provenance["precision"]["largest change of a probability"]
        == report.largest_change
    )


def test_numbers_of_a_report() -> None:
    before = np.array([[0.2, 0.5, 0.9], [0.1, 0.6, 0.4]])
    after = np.array([[0.25, 0.45, 0.9], [0.1, 0.6, 0.48]])
    report = PrecisionReport(
        precision="int8",
        before=before,
        after=after,
        record_ids=("a", "b"),
        classes=CLASSES,
        n_changed=1,
        n_decisions=6,
        n_windows=4,
        bytes_before=4_000_000,
        bytes_after=1_100_000,
        seconds_before=0.2,
        seconds_after=0.125,
        device="cpu",
    )
    assert report.largest_change == pytest.approx(
        0.08
    ) and report.mean_change == pytest.approx(0.03)
    assert report.agreement == pytest.approx(5 / 6)
    table = report.table().set_index("class")
    np.testing.assert_allclose(table["largest_change"], [0.05, 0.05, 0.08])
    np.testing.assert_allclose(table["mean_change"], [0.025, 0.025, 0.04])
    assert list(table["recording"]) == ["a", "a", "b"]
    assert list(table.loc["MI", ["before", "after"]]) == [0.4, 0.48]
    text = str(report)
    for part in (
        "4.0 MB, now 1.1 MB",
        "200.0 ms, now 125.0 ms",
        "2 windows each",
        "at most 0.08000",
        "1 of 6 changed",
    ):
        assert part in text
    assert "83.33% agree" in text and "MI     0.08000" in text


def test_decisions_that_change_are_counted(bundle: Bundle) -> None:
    """Thresholds put between the two probabilities of one recording and class."""
    sources = recordings()
    _, report = lower_precision(bundle, "bfloat16", sources, max_change=1)
    row, column = np.unravel_index(report.changes.argmax(), report.changes.shape)
    between = list(bundle.thresholds)
    between[column] = float(report.before[row, column] + report.after[row, column]) / 2
    _, report = lower_precision(
        dataclasses.replace(bundle, thresholds=tuple(between)), "bfloat16", sources
    )
    assert report.n_changed == 1 and report.agreement == pytest.approx(8 / 9)


def test_too_much_change_is_refused_with_the_place(bundle: Bundle) -> None:
    sources = recordings()
    _, report = lower_precision(bundle, "bfloat16", sources, max_change=1)
    bound = report.largest_change
    lower_precision(bundle, "bfloat16", sources, max_change=bound * 1.000001)
    with pytest.raises(ConfigError) as refused:
        lower_precision(bundle, "bfloat16", sources, max_change=bound * 0.999999)
    row, column = np.unravel_index(report.changes.argmax(), report.changes.shape)
    for part in (
        f"bfloat16 changes a probability by {bound:.4f}",
        f"{CLASSES[column]!r} of recording 'r{row}'",
        f"from {report.before[row, column]:.4f} to {report.after[row, column]:.4f}",
        "Stay with float32",
    ):
        assert part in str(refused.value)


def test_numbers_too_large_for_float16_are_refused_and_fit_bfloat16(
    bundle: Bundle,
) -> None:
    large = dataclasses.replace(bundle, model=copy.deepcopy(bundle.model))
    with torch.no_grad():
        large.model.layers[0].attention.value.weight.mul_(1e7)
    with pytest.raises(
        ConfigError,
        match=r"no probabilities in float16 for recording 'r0'.*float16 ends at 65504",
    ):
        lower_precision(large, "float16", recordings(), max_change=1)
    lower_precision(large, "bfloat16", recordings(), max_change=1)


def test_what_cannot_be_compared_is_refused(bundle: Bundle) -> None:
    one = recordings(1)
    lowered, _ = lower_precision(bundle, "int8", one[0])
    flat = dataclasses.replace(one[0], signal=one[0].signal * 0)
    pretrained = build_model(**{**bundle.model.spec(), "n_classes": 0})
    for arguments, precision, sources, options, message in (
        (bundle, "int4", one, {}, "no precision 'int4'.*Did you mean 'int8'"),
        (bundle, "float32", one, {}, "in float32 already"),
        (lowered, "int8", one, {}, "in int8 already"),
        (lowered, "bfloat16", one, {}, "in int8 and cannot be converted to bfloat16"),
        (bundle, "int8", [], {}, "needs recordings"),
        (bundle, "int8", one, {"max_change": 2}, "max_change is 2"),
        (bundle, "int8", one, {"max_change": float("nan")}, "max_change is nan"),
        (
            dataclasses.replace(bundle, model=pretrained, classes=(), aggregate=()),
            "int8",
            one,
            {},
            "no classifier",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            lower_precision(arguments, precision, sources, **options)
    with pytest.raises(ReadError, match="constant"):
        lower_precision(bundle, "int8", [*one, flat])


def write_predictions(output: Path, file: Path, folders: list[Path]) -> None:
    lines = []
    for folder in folders:
        bundle = load_bundle(folder)
        row = predict_recordings(bundle, file).iloc[0]
        lines.append([bundle.precision, *(float(row[c]).hex() for c in bundle.classes)])
    write_json(output, lines)


def test_a_fresh_process_predicts_the_same_bits(bundle: Bundle, tmp_path: Path) -> None:
    source = recordings(1)[0]
    file = tmp_path / "r.npz"
    leads = np.array(STANDARD_12)
    np.savez(file, signal=source.signal, fs=100, leads=leads, units="mV")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = []
        for precision in LOWER:
            lowered, _ = lower_precision(bundle, precision, source)
            folder = save_bundle(lowered, tmp_path / precision)
            values = probabilities(lowered, [file])[0].tolist()
            expected.append([precision, *(value.hex() for value in values)])
            size = (folder / "model.safetensors").stat().st_size
            assert size < 1.1 * n_bytes(lowered.model) + 10_000
    finally:
        torch.set_num_threads(threads)
    folders = [tmp_path / precision for precision in LOWER]
    run_in_new_process(write_predictions, tmp_path / "out.json", file, folders)
    assert read_json(tmp_path / "out.json") == expected


def test_a_bundle_of_another_precision_than_it_says_is_refused(
    bundle: Bundle, tmp_path: Path
) -> None:
    lowered, _ = lower_precision(bundle, "int8", recordings(1))
    folder = save_bundle(lowered, tmp_path / "b")
    description = read_json(folder / "bundle.json")
    assert (
        description["precision"] == "int8" and load_bundle(folder).precision == "int8"
    )
    write_json(folder / "bundle.json", description | {"precision": "float32"})
    with pytest.raises(CheckpointError, match="do not fit model 'ecg_fm'"):
        load_bundle(folder)
    write_json(folder / "bundle.json", description | {"precision": "int4"})
    with pytest.raises(ConfigError, match="no precision 'int4'"):
        load_bundle(folder)


def test_ecg_fm_on_real_recordings(data_dir: Path, golden_dir: Path) -> None:
    """Weights of chance in the published architecture, recordings of five sources at
    two rates."""
    bundle = bundle_of_ecg_fm(load_ecg_fm(golden_dir / "ecg_fm" / "finetuned.pt"))
    names = ("A0001", "A0010", "E07505", "HR06000")
    files = [data_dir / "cinc2020_2021" / f"{name}.hea" for name in names]
    files += sorted((data_dir / "ludb").glob("**/1*.hea"))[:3]
    largest = {}
    for precision in LOWER:
        lowered, report = lower_precision(bundle, precision, files)
        largest[precision] = report.largest_change
        assert report.n_windows >= 2 * len(files) and report.n_decisions == 17 * len(
            files
        )
        assert report.agreement > 0.98
        np.testing.assert_allclose(
            probabilities(lowered, files), report.after, atol=5e-4
        )
    assert largest["float16"] < largest["int8"] < largest["bfloat16"] < 0.004
    with pytest.raises(
        ConfigError,
        match=r"more than max_change=0\.0001: '.+' of recording '.+' goes from 0\.\d{4}",
    ):
        lower_precision(bundle, "int8", files, max_change=1e-4)
