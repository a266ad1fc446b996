"""Predictions from files of every kind: the same heart, the same answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

import ecgnb
from ecgnb.core.errors import EcgnbError, ReadError, StageError
from ecgnb.data.config import PrepareConfig
from ecgnb.data.demo.cohort_files import DemoConfig, make_demo
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import save_bundle
from ecgnb.deploy.inference import predict_recordings
from ecgnb.models import build_model
from ecgnb.transforms.pipeline import build_pipeline

CLASSES = ("NORM", "AF", "MI")


def make_bundle(
    task: str = "multiclass", thresholds: tuple[float, ...] = (), scale: float = 30.0
) -> Bundle:
    """A network at 500 Hz with weights of chance, whose outputs differ enough to tell
    recordings apart."""
    torch.manual_seed(1)
    words = {
        "n_leads": 12,
        "n_samples": 5000,
        "fs": 500.0,
        "n_classes": 3,
        "leads": STANDARD_12,
        "task": task,
    }
    model = build_model(
        "resnet1d", **words, widths=(8, 12), depths=(1, 1), norm="group"
    ).eval()
    with torch.no_grad():
        model.head.classifier.weight.mul_(scale)
    return Bundle(
        model=model,
        classes=CLASSES,
        task=task,
        prepare=PrepareConfig(leads=STANDARD_12),
        transforms=build_pipeline(["zscore"]),
        thresholds=thresholds,
        temperature=2.0,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return (
        make_demo(
            tmp_path_factory.mktemp("demo") / "d", DemoConfig(n_records=4), n_jobs=1
        )
        / "records"
    )


@pytest.fixture
def recording(demo: Path) -> Recording:
    return read_recording(demo / "D00002.hea")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_bundle()


def probabilities(table) -> np.ndarray:
    return table[list(CLASSES)].to_numpy(dtype=float)


def changed(recording: Recording, rows: list[int], names: list[str]) -> Recording:
    return dataclasses.replace(
        recording, signal=recording.signal[rows], leads=tuple(names)
    )


def test_different_recordings_get_different_answers_that_sum_to_one(
    bundle: Bundle, demo: Path
) -> None:
    table = predict_recordings(bundle, sorted(demo.glob("*.hea")))
    values = probabilities(table)
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-9)
    assert np.ptp(values, axis=0).max() > 0.05, "the other tests would prove nothing"
    assert [CLASSES[number] for number in values.argmax(axis=1)] == list(
        table["prediction"]
    )
    assert list(table["record_id"]) == ["D00001", "D00002", "D00003", "D00004"]
    assert (table["seconds"] == 10).all() and (table["problem"] == "").all()


def test_every_format_gives_the_same(
    bundle: Bundle, demo: Path, recording: Recording, tmp_path: Path
) -> None:
    signal = recording.signal
    np.save(tmp_path / "a.npy", signal)
    np.save(tmp_path / "turned.npy", signal.T)
    np.savez(
        tmp_path / "b.npz",
        ecg=signal * 1000,
        fs=500,
        leads=np.array(STANDARD_12),
        units="uV",
    )
    scipy.io.savemat(
        tmp_path / "c.mat",
        {"ECG": {"sex": "Male", "age": 60, "data": signal.astype(np.float64)}},
    )
    scipy.io.savemat(
        tmp_path / "d.mat", {"val": np.rint(signal * 1000).astype(np.int16)}
    )
    rows = "\n".join(
        ",".join(map(repr, row)) for row in signal.T.astype(float).tolist()
    )
    (tmp_path / "e.csv").write_text(
        ",".join(STANDARD_12) + "\n" + rows + "\n", encoding="utf-8"
    )
    wanted = probabilities(predict_recordings(bundle, recording))
    sources = [
        demo / "D00002.hea",
        demo / "D00002.dat",
        demo / "D00002",
        str(demo / "D00002.hea"),
    ]
    sources += [
        tmp_path / name
        for name in ("a.npy", "turned.npy", "b.npz", "c.mat", "d.mat", "e.csv")
    ]
    for source in sources:
        result = predict_recordings(
            bundle,
            source,
            **({"fs": 500} if Path(source).suffix in (".npy", ".csv", ".mat") else {}),
        )
        np.testing.assert_allclose(
            probabilities(result), wanted, atol=1e-6, err_msg=str(source)
        )


def test_one_many_and_an_iterator(
    bundle: Bundle, demo: Path, recording: Recording
) -> None:
    alone = predict_recordings(bundle, demo / "D00003.hea").iloc[0]
    many = predict_recordings(
        bundle, (source for source in (recording, str(demo / "D00003.hea")))
    )
    assert len(many) == 2 and many.iloc[1].equals(alone)
    assert predict_recordings(bundle, []).empty


def test_the_order_and_the_spelling_of_leads_do_not_matter(
    bundle: Bundle, recording: Recording
) -> None:
    order = np.random.default_rng(0).permutation(12).tolist()
    spelled = [
        f"Lead {STANDARD_12[row]}" if row % 2 else STANDARD_12[row].lower()
        for row in order
    ]
    wanted = predict_recordings(bundle, recording)
    np.testing.assert_array_equal(
        probabilities(predict_recordings(bundle, changed(recording, order, spelled))),
        probabilities(wanted),
    )


@pytest.mark.parametrize(
    "absent", [("III", "aVR", "aVL", "aVF"), ("I", "aVR"), ("II", "III", "aVL", "aVR")]
)
def test_limb_leads_that_are_missing_are_derived(
    bundle: Bundle, recording: Recording, absent: tuple[str, ...]
) -> None:
    rows = [row for row, name in enumerate(STANDARD_12) if name not in absent]
    result = predict_recordings(
        bundle, changed(recording, rows, [STANDARD_12[row] for row in rows])
    )
    # the file's own leads are rounded to steps of its converter, derived ones are not
    np.testing.assert_allclose(
        probabilities(result),
        probabilities(predict_recordings(bundle, recording)),
        atol=2e-3,
    )


@pytest.mark.parametrize("fs", [250, 360, 1000])
def test_another_rate_gives_nearly_the_same(
    bundle: Bundle, recording: Recording, fs: int, tmp_path: Path
) -> None:
    times = np.arange(fs * 10) / fs
    spectrum = np.fft.rfft(recording.signal, axis=1)
    spectrum[:, 1000:] = 0  # nothing above 100 Hz, so that every rate can hold it
    smooth = np.fft.irfft(spectrum, n=5000, axis=1).astype(np.float32)
    kept = np.zeros((12, len(times) // 2 + 1), dtype=complex)
    kept[:, :1000] = spectrum[:, :1000]
    other = np.fft.irfft(kept, n=len(times), axis=1) * len(times) / 5000
    np.savez(
        tmp_path / "x.npz",
        signal=other.astype(np.float32),
        fs=fs,
        leads=np.array(STANDARD_12),
        units="mV",
    )
    result = predict_recordings(bundle, tmp_path / "x.npz")
    assert result["seconds"].iloc[0] == 10
    wanted = predict_recordings(bundle, dataclasses.replace(recording, signal=smooth))
    np.testing.assert_allclose(probabilities(result), probabilities(wanted), atol=0.02)


def test_a_short_recording_is_padded_and_says_how_much_was_seen(
    bundle: Bundle, recording: Recording
) -> None:
    short = dataclasses.replace(recording, signal=recording.signal[:, :1500])
    table = predict_recordings(bundle, short)
    assert table["seconds"].iloc[0] == 3 and np.isfinite(probabilities(table)).all()


def test_recordings_that_cannot_be_used(
    bundle: Bundle, demo: Path, recording: Recording, tmp_path: Path
) -> None:
    flat = dataclasses.replace(recording, signal=recording.signal * 0, record_id="flat")
    (tmp_path / "cut.hea").write_text(
        "cut 1 500 5000\ncut.dat 16 1000/mV 16 0 0 0 0 I\n", encoding="utf-8"
    )
    (tmp_path / "cut.dat").write_bytes(b"\0\0")
    bad = {
        "missing_leads": changed(recording, [0, 1, 2], ["Vx", "Vy", "Vz"]),
        "flat": flat,
        "truncated": tmp_path / "cut.hea",
        "missing_file": tmp_path / "nowhere.csv",
        "directory": demo,
    }
    for reason, source in bad.items():
        with pytest.raises(ReadError) as refused:
            predict_recordings(bundle, source)
        assert refused.value.reason == reason
    table = predict_recordings(bundle, [*bad.values(), recording])
    assert (
        list(table["prediction"][:-1]) == [""] * len(bad)
        and table["problem"].iloc[-1] == ""
    )
    assert (table["problem"][:-1] != "").all() and table[list(CLASSES)][:-1].isna().all(
        axis=None
    )
    assert list(table["record_id"])[:2] == ["D00002", "flat"]


def test_thresholds_decide_for_several_labels(recording: Recording) -> None:
    free = probabilities(
        predict_recordings(
            make_bundle("multilabel", (0.5, 0.5, 0.5), scale=1.0), recording
        )
    )[0]
    assert free.min() > 0 and free.max() < 1 and abs(free.sum() - 1) > 0.01
    below, above = free - 1e-3, free + 1e-3
    for wanted in (set(), {0}, {1, 2}, {0, 1, 2}):
        thresholds = tuple(below[n] if n in wanted else above[n] for n in range(3))
        table = predict_recordings(
            make_bundle("multilabel", thresholds, scale=1.0), recording
        )
        assert table["prediction"].iloc[0] == "|".join(
            CLASSES[n] for n in sorted(wanted)
        )
        np.testing.assert_array_equal(probabilities(table)[0], free)


def test_the_temperature_changes_how_sure_not_what(bundle: Bundle, demo: Path) -> None:
    files = sorted(demo.glob("*.hea"))
    warm, cold = (
        predict_recordings(dataclasses.replace(bundle, temperature=value), files)
        for value in (10.0, 0.5)
    )
    assert list(warm["prediction"]) == list(cold["prediction"])
    assert (probabilities(warm).max(axis=1) < probabilities(cold).max(axis=1)).all()


def test_a_broken_network_gives_an_error_and_no_class(recording: Recording) -> None:
    broken = make_bundle()
    with torch.no_grad():
        broken.model.head.classifier.bias.fill_(float("nan"))
    with pytest.raises(EcgnbError, match="NaN or infinite"):
        predict_recordings(broken, recording)


def test_by_run_by_name_and_by_folder_of_a_moved_bundle(
    finished_run, demo: Path, tmp_path: Path
) -> None:
    source = demo / "D00001.hea"
    wanted = ecgnb.predict(source, run=finished_run)
    assert ecgnb.predict(source, run=finished_run.name).equals(wanted)
    assert ecgnb.predict(source).equals(wanted)
    import shutil

    moved = shutil.copytree(finished_run.path("bundle"), tmp_path / "elsewhere")
    assert ecgnb.predict(source, run=str(moved)).equals(wanted)
    with pytest.raises(StageError, match="no run 'nope'"):
        ecgnb.predict(source, run="nope")


def test_a_bundle_saved_and_loaded_predicts_the_same(
    bundle: Bundle, recording: Recording, tmp_path: Path
) -> None:
    folder = save_bundle(bundle, tmp_path / "b")
    table = ecgnb.predict(recording, run=str(folder)).drop(columns=["run", "model"])
    assert table.equals(predict_recordings(bundle, recording))
