"""Bad input through the public face: a clear error or a row in ``rejected.csv``, and nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io

import ecgnb
from ecgnb import files, session
from ecgnb.cli import main
from ecgnb.data.demo import DemoConfig, make_demo
from ecgnb.data.leads import STANDARD_12
from ecgnb.errors import (
    CheckpointError,
    ConfigError,
    EcgnbError,
    FileError,
    LabelError,
    ReadError,
    SplitError,
    StageError,
    StoreError,
)

N = 40
TINY = {
    "PROFILE": "smoke",
    "PREPROCESS_LIMIT": 0,
    "EPOCHS": 1,
    "TARGET_FS": 100,
    "TARGET_SAMPLES": 1000,
    "MODEL_OPTIONS": {"widths": [8], "depths": [1]},
    "BATCH_SIZE_CPU": 16,
    "BOOTSTRAP_RESAMPLES": 20,
    "N_JOBS": 1,
}
STAGES = ("load_cohort", "prepare", "split", "train", "evaluate")
MAPPING = "unified_label_mapping.csv"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty good recordings with labels."""
    return make_demo(tmp_path_factory.mktemp("source") / "demo", DemoConfig(n_records=N), n_jobs=1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project; whatever a test does in it, no half-written file may stay."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.setenv("ECGNB_HOME", str(folder))
    monkeypatch.setattr(session, "_opened", None)
    yield folder
    assert not list(folder.rglob(".tmp-*"))


@pytest.fixture
def data(source: Path, tmp_path: Path) -> Path:
    """A copy of the good recordings, to spoil."""
    return Path(shutil.copytree(source, tmp_path / "data"))


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one finished run."""
    folder = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGNB_HOME", str(folder))
        job(DATASET_DIR=str(source))
    return folder


@pytest.fixture
def run(done: Path, home: Path):
    """The finished run in a project of its own, opened as after a restart."""
    shutil.copytree(done, home, dirs_exist_ok=True)
    return session.open_run()


def job(stages: tuple[str, ...] = STAGES, **parameters: object):
    opened = ecgnb.open_run({**TINY, **parameters})
    for stage in stages:
        getattr(ecgnb, stage)(opened)
    return opened


def relabel(data: Path, label: Callable[[int, str], str]) -> Path:
    """Write the label file anew; ``label`` gets position and old label of each recording."""
    table = pd.read_csv(data / MAPPING, dtype=str)
    table["mapped_label"] = [label(place, old) for place, old in enumerate(table["mapped_label"])]
    table.to_csv(data / MAPPING, index=False)
    return data


def wave(seed: int, n_samples: int = 5000, n_leads: int = 12) -> np.ndarray:
    """int16 ``[n_leads, n_samples]``, 1000 steps a mV."""
    random = np.random.default_rng(seed)
    time = np.arange(n_samples) / 500
    sine = np.sin(2 * np.pi * random.uniform(1, 20, (n_leads, 1)) * time)
    return np.rint(800 * sine + random.normal(0, 40, (n_leads, n_samples))).astype("<i2")


def write_wfdb(folder: Path, name: str, steps: np.ndarray, fs: float = 500, leads=STANDARD_12) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.dat").write_bytes(steps.T.astype("<i2").tobytes())
    rows = [f"{name}.dat 16 1000/mV 16 0 {row[0]} 0 0 {lead}" for row, lead in zip(steps, leads, strict=True)]
    header = "\n".join([f"{name} {len(steps)} {fs:g} {steps.shape[1]}", *rows])
    (folder / f"{name}.hea").write_text(header + "\n", encoding="utf-8")
    return folder / f"{name}.hea"


def csv_text(steps: np.ndarray, comment: str = "# fs: 500\n# units: mV\n") -> str:
    rows = [",".join(f"{value / 1000:.3f}" for value in row) for row in steps.T]
    return comment + ",".join(STANDARD_12) + "\n" + "\n".join(rows) + "\n"


# One folder with everything that is wrong with recordings.

#: Bad recordings: file (or record), the reason it is rejected for.
BAD = {
    "header_garbage": "header",
    "header_empty": "empty",
    "cut": "truncated",
    "no_signal_file": "missing_file",
    "all_zero": "flat",
    "many_nan": "nan",
    "one_lead_nan": "missing_leads",
    "rate_20_hz": "rate",
    "rate_6000_hz": "rate",
    "half_a_second": "too_short",
    "one_lead": "missing_leads",
    "other_leads": "missing_leads",
    "text_at_the_end": "text",
    "text_at_the_start": "text",
    "only_a_heading": "empty",
    "no_rate": "fs",
    "infinite": "inf",
    "pickled": "pickle",
    "junk_numpy": "unreadable",
    "empty_numpy": "empty",
    "junk_matlab": "unreadable",
    "pressure": "units",
}
#: Recordings that look odd, and are good.
ODD = (
    "six_seconds",
    "rate_250_hz",
    "one_lead_flat",
    "few_nan",
    "limb_leads_missing",
    "twin_a",
    "twin_b",
    "a_csv",
    "an_npz",
    "a_struct",
    "Aufnahme_ä1",
    "far away",
)


def write_bad_wfdb(folder: Path) -> None:
    (folder / "header_garbage.hea").write_bytes(b"\x00\x01\x02 what is this\n")
    (folder / "header_empty.hea").write_bytes(b"")
    write_wfdb(folder, "cut", wave(1))
    (folder / "cut.dat").write_bytes(b"\1" * 1001)
    write_wfdb(folder, "no_signal_file", wave(2))
    (folder / "no_signal_file.dat").unlink()
    write_wfdb(folder, "all_zero", wave(3) * 0)
    for name, (leads, samples) in {
        "many_nan": (slice(None), slice(1000, 3000)),
        "one_lead_nan": (3, slice(None)),
        "few_nan": (2, slice(2500, 2600)),
    }.items():
        steps = wave(4 + len(name))
        steps[leads, samples] = -32768
        write_wfdb(folder, name, steps)
    write_wfdb(folder, "rate_20_hz", wave(30), fs=20)
    write_wfdb(folder, "rate_6000_hz", wave(31), fs=6000)
    write_wfdb(folder, "half_a_second", wave(32, 250))
    write_wfdb(folder, "one_lead", wave(33, n_leads=1), leads=["II"])
    write_wfdb(folder, "other_leads", wave(34, n_leads=3), leads=["Vx", "Vy", "Vz"])
    pressure = write_wfdb(folder, "pressure", wave(35))
    pressure.write_text(pressure.read_text(encoding="utf-8").replace("/mV", "/mmHg"), encoding="utf-8")


def write_bad_arrays(folder: Path) -> None:
    (folder / "text_at_the_end.csv").write_text(csv_text(wave(40)) + ",".join(["oops"] * 12) + "\n", encoding="utf-8")
    rows = csv_text(wave(41)).split("\n")
    (folder / "text_at_the_start.csv").write_text("\n".join([*rows[:3], "bad" + rows[3], *rows[4:]]), encoding="utf-8")
    (folder / "only_a_heading.csv").write_text("# fs: 500\n" + ",".join(STANDARD_12) + "\n", encoding="utf-8")
    np.save(folder / "no_rate.npy", wave(42) / 1000)
    signal = wave(43) / 1000
    signal[4, 2500] = np.inf
    np.savez(folder / "infinite.npz", signal=signal, fs=500, leads=np.array(STANDARD_12))
    np.save(folder / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (folder / "junk_numpy.npy").write_bytes(b"junk")
    (folder / "empty_numpy.npy").write_bytes(b"")
    (folder / "junk_matlab.mat").write_bytes(b"junk" * 100)


def write_odd(folder: Path) -> None:
    write_wfdb(folder, "six_seconds", wave(50, 3000))
    write_wfdb(folder, "rate_250_hz", wave(51, 2500), fs=250)
    flat = wave(52)
    flat[6] = 0
    write_wfdb(folder, "one_lead_flat", flat)
    kept = [STANDARD_12.index(name) for name in STANDARD_12 if name not in ("III", "aVR", "aVL", "aVF")]
    write_wfdb(folder, "limb_leads_missing", wave(53)[kept], leads=[STANDARD_12[row].lower() for row in kept])
    write_wfdb(folder, "twin_a", wave(54))
    write_wfdb(folder, "twin_b", wave(54))
    (folder / "a_csv.csv").write_text(csv_text(wave(55)), encoding="utf-8")
    np.savez(folder / "an_npz.npz", signal=wave(56) / 1000, fs=500, leads=np.array(STANDARD_12), units="mV")
    scipy.io.savemat(folder / "a_struct.mat", {"ECG": {"sex": "Male", "age": 60, "data": wave(57) / 1000}})
    write_wfdb(folder / "Ordner mit Ü", "Aufnahme_ä1", wave(58))
    np.savez(folder / "Ordner mit Ü" / "far away.npz", signal=wave(59) / 1000, fs=500, leads=np.array(STANDARD_12))


def write_junk(folder: Path) -> None:
    (folder / "notes.txt").write_text("Some recordings.\nThey are ours.\n", encoding="utf-8")
    (folder / "photo.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.hea").write_text("hidden 1 500 10\n", encoding="utf-8")
    (folder / "ages.csv").write_text("record,age\nD00001,50\n", encoding="utf-8")
    with contextlib.suppress(OSError):  # Windows asks for a right to make links
        (folder / "loop").symlink_to(folder.parent, target_is_directory=True)


def label_rows() -> list[str]:
    """Labels by name, by Windows path, twice; for recordings that are not there; without label."""
    rows = [f"folder,{name},NORM" for name in ODD[:6]]
    rows += [f"any,C:\\data\\{name}.csv,AF" for name in ODD[6:10]]
    rows += [f"other,{name},MI" for name in ODD[10:]]
    rows += ["folder,twin_a,NORM", "folder,cut,NORM", "folder,six_seconds,"]
    return [*rows, "folder,ghost,AF", "other,C:\\data\\ghost2.hea,AF"]


def test_one_dirty_folder_end_to_end(data: Path, home: Path) -> None:
    records = data / "records"
    for write in (write_bad_wfdb, write_bad_arrays, write_odd, write_junk):
        write(records)
    with open(data / MAPPING, "a", encoding="utf-8") as file:
        file.write("\n".join(label_rows()) + "\n")
    run = job((*STAGES, "write_report"), DATASET_DIR=str(data))
    stored, rejected = run.store.records, run.store.rejected
    assert dict(zip(rejected["record_id"], rejected["reason"], strict=True)) == BAD
    assert set(stored["record_id"]) == {f"D{number:05d}" for number in range(1, N + 1)} | set(ODD)
    assert all(name in message for name, message in zip(rejected["record_id"], rejected["message"], strict=True)
               if name in ("cut", "text_at_the_end", "junk_numpy", "no_rate"))  # fmt: skip
    assert "'oops' in row 5004, column 'I'" in rejected.set_index("record_id").loc["text_at_the_end", "message"]

    coverage = run.coverage.set_index("what")["count"]
    assert coverage["recordings found"] == N + len(ODD) + len(BAD)
    assert coverage["with a label"] == N + len(ODD) + 1  # `cut` has one, too
    assert coverage["rows of unknown recordings"] == 2

    about = stored.set_index("record_id")
    assert tuple(about.loc["six_seconds", ["valid_start", "valid_stop"]]) == (200, 800)
    assert about.loc["one_lead_flat", "flags"] == "flat_leads:V1" and about.loc["few_nan", "flags"] == "nan_repaired"
    part = {row: name for name, rows in run.splits.parts.items() for row in rows}
    assert part[about.loc["twin_a", "row"]] == part[about.loc["twin_b", "row"]]
    assert len(part) == len(stored)
    assert len(run.predictions) == len(run.splits.test)
    assert "header_garbage" in run.path("report.html").read_text(encoding="utf-8")


# Folders and label files.


def nothing(data: Path) -> None:
    for path in (data / "records").iterdir():
        path.unlink()


def no_header_readable(data: Path) -> None:
    for path in (data / "records").glob("*.hea"):
        path.write_bytes(b"\xff\xfe junk")


def all_cut(data: Path) -> None:
    for path in (data / "records").glob("*.dat"):
        path.write_bytes(b"")


def label_file(text: bytes | str) -> Callable[[Path], None]:
    return lambda data: (data / MAPPING).write_bytes(text if isinstance(text, bytes) else text.encode()) and None


HEAD = "dataset,record_id,mapped_label\n"

FOLDERS: dict[str, tuple[Callable[[Path], object], type[EcgnbError], str]] = {
    "empty folder": (nothing, ReadError, r"data holds no recording of folder\. Expected there: WFDB"),
    "no readable header": (no_header_readable, StoreError, r"None of the .*(can be read|can be used).*"),
    "all rejected": (all_cut, StoreError, r"None of the 40 recordings can be used: 40 truncated\. See .*rejected\.csv"),
    "no label file": (lambda data: (data / MAPPING).unlink(), LabelError, r"no label file .* Put unified_label"),
    "empty label file": (label_file(b"\n"), LabelError, r"no column dataset.*It needs dataset, record_id"),
    "other columns": (label_file("a,b\n1,2\n"), LabelError, r"its columns are a, b\. It needs"),
    "binary label file": (label_file(bytes(range(256))), LabelError, r"mapping\.csv has no column dataset"),
    "no rows": (label_file(HEAD), LabelError, r"None of the 40 recordings is in the mapping of 0 rows.*Make record_id"),
    "unknown records": (label_file(HEAD + "x,ghost,AF\n"), LabelError, r"None of the 40 .* the mapping names ghost"),
    "contradiction": (label_file(HEAD + "x,D00001,AF\nx,D00001,MI\n"), LabelError, r"D00001 = AF and D00001 = MI\. "),
    "ragged": (label_file(HEAD + "x,D00001,AF\nx,D00002,MI,1,2\n"), LabelError, r"line 3, saw 5\. Mend that line"),
    "nameless": (label_file(HEAD + "x,D00001,AF\nx,,MI\n"), LabelError, r"1 rows without a record_id: rows 3"),
    "one class": (lambda data: relabel(data, lambda *_: "NORM"), LabelError, r"All 40 .* labelled 'NORM'.*Add"),
    "two recordings": (
        lambda data: [path.write_bytes(b"") for path in sorted((data / "records").glob("*.dat"))[2:]],
        EcgnbError, r"(2 records of \d patients cannot be parted into 3|All 2 prepared recordings are labelled)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "error", "message"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_that_cannot_be_used_and_the_same_call_when_it_can(
    data: Path, source: Path, home: Path, spoil, error: type[EcgnbError], message: str
) -> None:
    spoil(data)
    with pytest.raises(error, match=message):
        job(STAGES[:3], DATASET_DIR=str(data))
    assert not list(home.rglob(".tmp-*"))
    shutil.rmtree(data)
    shutil.copytree(source, data)
    assert len(job(STAGES[:3], DATASET_DIR=str(data)).store) == N


def test_no_folder_and_a_file_for_a_folder(home: Path, data: Path) -> None:
    for folder in (home / "nowhere", data / MAPPING):
        with pytest.raises(ReadError, match=rf"There is no folder .*{folder.name}.*Check the path"):
            job(DATASET_DIR=str(folder))
    with pytest.raises(ConfigError, match="DATASET_DIR is empty; give the folder"):
        job(DATASET="ptbxl")


def test_a_locked_folder_is_told_of_and_the_others_are_used(
    data: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "locked").mkdir()
    listing = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    assert len(job(STAGES[:2], DATASET_DIR=str(data)).store) == N
    assert "locked cannot be read (Permission denied); recordings in it are left out." in capsys.readouterr().out


# Labels that are unusual, and good.


def cycle(*labels: str) -> Callable[[int, str], str]:
    return lambda place, _: labels[place % len(labels)]


USUAL: dict[str, tuple[Callable[[int, str], str], dict[str, object], str]] = {
    "two classes": (cycle("NORM", "AF"), {"LABEL_ORDER": ["NORM", "AF"]}, "multiclass"),
    "a class with one record": (lambda place, _: "MI" if place == 0 else ("NORM", "AF")[place % 2], {}, "multiclass"),
    "several labels": (cycle("AF", "BBB|AF", "NORM", "AF|MI", "MI|BBB"), {}, "multilabel"),
    "several labels, one class in no record": (cycle("A", "B|A", "B"), {"LABEL_ORDER": ["A", "B", "C"]}, "multilabel"),
    "labels in another case": (cycle("norm", "Af"), {}, "multiclass"),
}


@pytest.mark.parametrize(("label", "parameters", "task"), USUAL.values(), ids=USUAL)
def test_unusual_labels_train_and_are_judged(data: Path, home: Path, label, parameters, task: str) -> None:
    run = job(DATASET_DIR=str(relabel(data, label)), **parameters)
    assert run.task == task
    if run.classes == ("A", "B", "C"):  # the figures of a class that no record has
        ecgnb.write_report(run)
    probabilities = run.predictions[[f"probability_{name}" for name in run.classes]].to_numpy()
    assert np.isfinite(probabilities).all()
    if task == "multiclass":
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    judged = {row["class"] for row in run.metrics["per_class"]}
    assert judged == set(run.classes)


def test_a_class_that_a_part_lacks_is_told_of(data: Path, home: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    relabel(data, lambda place, _: "MI" if place == 0 else ("NORM", "AF")[place % 2])
    run = job(STAGES[:3], DATASET_DIR=str(data))
    assert "Class MI has 1 patients only" in capsys.readouterr().out
    assert any("Class MI is missing in" in warning for warning in run.splits.report["warnings"])


def test_twelve_and_one_lead_recordings_in_one_folder(data: Path, home: Path) -> None:
    for number in range(5):
        write_wfdb(data / "records", f"single{number}", wave(number, n_leads=1), leads=["II"])
    run = job(DATASET_DIR=str(data))
    assert len(run.store) == N and list(run.store.rejected["reason"]) == ["missing_leads"] * 5
    assert run.store.rejected["message"].str.contains("Set MISSING_LEADS to 'zero'").all()
    filled = job(DATASET_DIR=str(data), MISSING_LEADS="zero")
    assert len(filled.store) == N + 5
    one = job(DATASET_DIR=str(data), LEADS=["II"])
    assert len(one.store) == N + 5 and one.store.leads == ("II",)


def test_only_short_recordings_are_padded_and_masked(tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "short"
    for number in range(20):
        write_wfdb(folder, f"r{number:02d}", wave(number, 1000 + 50 * number))
    rows = [f"x,r{number:02d},{('NORM', 'AF')[number % 2]}" for number in range(20)]
    (folder / MAPPING).write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    run = job(DATASET_DIR=str(folder))
    lengths = np.diff(run.store.valid(np.arange(20))).ravel()
    np.testing.assert_array_equal(lengths, [200 + 10 * number for number in range(20)])
    signal = run.store.read([0])[0]
    assert not signal[:, : run.store.valid([0])[0, 0]].any()


# Parameters.

PARAMETERS: dict[str, tuple[dict[str, object], type[EcgnbError], str]] = {
    "unknown": ({"EPOCSH": 3}, ConfigError, r"no parameter 'EPOCSH' \(value 3\)\. Did you mean EPOCHS"),
    "wrong type": ({"EPOCHS": "three"}, ConfigError, r"EPOCHS is 'three' \(str\); it needs a value of type int"),
    "unknown profile": ({"PROFILE": "large"}, ConfigError, r"PROFILE is 'large'; choose one of smoke, medium, full"),
    "unknown data set": ({"DATASET": "ptbx"}, ConfigError, r"no data set called 'ptbx'\. Did you mean 'ptbxl'"),
    "unknown label set": ({"LABEL_SET": "all"}, ConfigError, r"no label set 'all'.*It has: unified"),
    "unknown model": ({"MODEL": "resnet1"}, ConfigError, r"no model called 'resnet1'\. Did you mean 'resnet1d'"),
    "unknown option": ({"MODEL_OPTIONS": {"wid": [8]}}, ConfigError, r"no option 'wid'\. Did you mean 'widths'"),
    "option of a wrong type": ({"MODEL_OPTIONS": {"widths": 8}}, ConfigError, r"options \{'widths': 8\}.*defaults are"),
    "option the data decide": ({"MODEL_OPTIONS": {"n_classes": 3}}, ConfigError, r"names n_classes.*Leave it out"),
    "option out of range": ({"MODEL_OPTIONS": {"dropout": 3}}, ConfigError, r"dropout must be .* it was given 3"),
    "unknown augmentation": ({"AUGMENT": ["nois"]}, ConfigError, r"no transform called 'nois'.*Available: amplitude"),
    "augmentation of a wrong type": ({"AUGMENT": [3]}, ConfigError, r"A transform needs a name; 3 has none"),
    "transform's option of a wrong type": (
        {"TRANSFORMS": [{"name": "bandpass", "low": "x"}]}, ConfigError, r"'bandpass'.*\{'low': 'x'\}"),
    "band above half the rate": ({"TRANSFORMS": [{"name": "bandpass", "high": 60}]}, ConfigError, r"high=60 Hz.*lower"),
    "test of nothing": ({"TEST_FRACTION": 0}, ConfigError, r"TEST_FRACTION 0 must be above 0"),
    "test of all": ({"TEST_FRACTION": 1.0}, ConfigError, r"TEST_FRACTION 1 must be above 0 and leave something"),
    "no room for training": ({"TEST_FRACTION": 0.9}, ConfigError, r"0\.1 and TEST_FRACTION 0\.9.*leave something"),
    "test of NaN": ({"TEST_FRACTION": float("nan")}, ConfigError, r"TEST_FRACTION is nan .*finite number"),
    "infinite rate": ({"LR": "inf"}, ConfigError, r"LR is inf .*finite number"),
    "no such fold": ({"SPLIT": "kfold", "N_FOLDS": 3, "TEST_FOLD": 3}, ConfigError, r"TEST_FOLD is 3; give 0 to 2"),
    "more folds than patients": ({"SPLIT": "kfold", "N_FOLDS": 100}, SplitError, r"cannot be parted into 100.*N_FOLDS"),
    "no official folds": ({"SPLIT": "official"}, SplitError, r"0 official folds.*Set SPLIT to 'stratified'"),
    "seed of twenty digits": ({"SEED": 10**20}, ConfigError, r"seed is 1000.*at most 18 digits"),
    "leads nobody has": ({"LEADS": ["X9"]}, StoreError, r"None of the 40 .* 40 missing_leads\. See"),
    "half precision on a CPU": ({"MIXED_PRECISION": "fp16", "DEVICE": "cpu"}, ConfigError, r"fp16.*Take 'auto'"),
    "several labels for one class": ({"TASK": "multiclass"}, ConfigError, r"recordings such as 'D0\d+' carry several"),
    "diverging": ({"LR": 1e30}, EcgnbError, r"became nan in epoch 1 at step \d, over store rows .* lower lr \(now 1e"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*bfloat16")
@pytest.mark.parametrize(("parameters", "error", "message"), PARAMETERS.values(), ids=PARAMETERS)
def test_a_parameter_that_cannot_be(
    data: Path, home: Path, parameters: dict, error: type[EcgnbError], message: str
) -> None:
    if "TASK" in parameters:
        relabel(data, cycle("AF", "BBB|AF"))
    with pytest.raises(error, match=message):
        job(**{"DATASET_DIR": str(data), **parameters})


@pytest.mark.parametrize("name", ["unknown model", "unknown option", "augmentation of a wrong type"])
def test_the_preflight_finds_it_before_anything_is_prepared(data: Path, home: Path, name: str, capsys) -> None:
    parameters, _, message = PARAMETERS[name]
    with pytest.raises(EcgnbError, match="model: .*" + message):
        ecgnb.preflight(ecgnb.open_run({**TINY, "DATASET_DIR": str(data), **parameters}))
    given = [text for key, value in parameters.items() for text in ("-p", key, json.dumps(value).strip('"'))]
    assert main(["train", "-p", "DATASET_DIR", str(data), *given]) == 1
    assert "The preflight found" in capsys.readouterr().err
    assert not (home / "artifacts" / "stores").exists()


GOOD: dict[str, dict[str, object]] = {
    "more than there are": {"PREPROCESS_LIMIT": 10_000},
    "few": {"PREPROCESS_LIMIT": 8},
    "large test": {"TEST_FRACTION": 0.6},
    "tiny test": {"TEST_FRACTION": 1e-9},
    "text for a number": {"TEST_FRACTION": "0.3"},
    "dry run": {"DRY_RUN": True, "EPOCHS": 5},
    **{f"fold {fold}": {"SPLIT": "kfold", "N_FOLDS": 3, "TEST_FOLD": fold} for fold in range(3)},
    "weighted": {"SAMPLER": "weighted"},
    "macro AUROC": {"MONITOR": "macro_auroc"},
    "loss": {"MONITOR": "loss"},
    "one-cycle": {"SCHEDULER": "one-cycle"},
    "bfloat16": {"MIXED_PRECISION": "bf16", "DEVICE": "cpu"},
    "two batches a step": {"GRAD_ACCUM_STEPS": 2},
    "more batches a step than there are": {"GRAD_ACCUM_STEPS": 100},
    "one record a batch": {"BATCH_SIZE_CPU": 1},
    "negative seeds": {"SEED": -1, "SPLIT_SEED": -5},
    "augmented": {"AUGMENT": ["gaussian_noise", "time_shift"]},
    "untransformed": {"TRANSFORMS": []},
    "float16": {"STORE_DTYPE": "float16"},
    "an odd rate": {"TARGET_FS": 133, "TARGET_SAMPLES": 777},
}


@pytest.mark.filterwarnings("ignore:.*bfloat16")
@pytest.mark.parametrize("parameters", GOOD.values(), ids=GOOD)
def test_a_parameter_that_is_unusual_and_good(source: Path, home: Path, parameters: dict) -> None:
    run = job(DATASET_DIR=str(source), **parameters)
    assert np.isfinite(run.history["train_loss"]).all() and len(run.history) == 1
    assert len(run.predictions) == len(run.splits.test) > 0
    assert sum(map(len, run.splits.parts.values())) == len(run.store) == min(N, parameters.get("PREPROCESS_LIMIT", N))


def test_the_folds_of_a_cross_validation_share_no_test_record(source: Path, home: Path) -> None:
    folds = [job(STAGES[:3], DATASET_DIR=str(source), **GOOD[f"fold {fold}"]).splits.test for fold in range(3)]
    assert sorted(np.concatenate(folds)) == list(range(N))


def test_a_relative_folder_a_tilde_and_a_name_with_blanks(
    data: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(job(STAGES[:2], DATASET_DIR="data").store) == N
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert len(job(STAGES[:2], DATASET_DIR="~/data").store) == N
    data.rename(tmp_path / "Ordner mit Ü & Leerzeichen")
    project = tmp_path / "Prüf Stand"
    project.mkdir()
    monkeypatch.setenv("ECGNB_HOME", str(project))
    run = job((*STAGES, "write_report"), DATASET_DIR="Ordner mit Ü & Leerzeichen")
    assert len(run.store) == N and run.path("report.html").is_file()
    assert ecgnb.predict(run.predictions["path"].iloc[0])["problem"].iloc[0] == ""


# Files of a run that are cut, empty, gone or replaced.


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "half": halve,
    "empty": lambda file: file.write_bytes(b""),
    "gone": Path.unlink,
    "list": lambda file: file.write_text("[1]", encoding="utf-8"),
}
#: A stage's files and the call that needs them next.
LEFT = {
    "manifest.csv": ("cohort", "prepare"),
    "coverage.csv": ("cohort", "prepare"),
    "splits.json": ("split", "train"),
    "history.csv": ("train", "evaluate"),
    "metrics.json": ("evaluate", "write_report"),
    "predictions.csv": ("evaluate", "write_report"),
    "bundle/bundle.json": ("evaluate", "write_report"),
    "bundle/model.safetensors": ("evaluate", "write_report"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", LEFT)
def test_a_damaged_file_is_named_and_its_stage_writes_it_again(run, name: str, damage: str) -> None:
    file, (stage, following) = run.path(name), LEFT[name]
    before = file.read_bytes()
    DAMAGE[damage](file)
    with pytest.raises(StageError, match=rf"{file.name} (has \d+ bytes in place of|is missing).*Run again: ecgnb\."):
        getattr(ecgnb, following)(run)
    again = session.STAGES[stage].removeprefix("ecgnb.").removesuffix("(run)")
    getattr(ecgnb, again)(run)
    if name == "bundle/bundle.json":  # it tells when it was made and on which machine
        assert json.loads(file.read_bytes())["weights_sha256"] == json.loads(before)["weights_sha256"]
    else:
        assert file.read_bytes() == before
    for call in STAGES:
        getattr(ecgnb, call)(run)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("stage", ["cohort", "prepare", "split", "train", "evaluate"])
def test_a_stage_whose_note_is_damaged_is_done_again(run, stage: str, damage: str) -> None:
    metrics = run.metrics
    DAMAGE[damage](run.path("stages", f"{stage}.json"))
    for call in STAGES:
        getattr(ecgnb, call)(run)
    assert run.metrics == metrics


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name", ["manifest.json", "records.csv", "rejected.csv", "shard-000.json", "signals-000.npy", "scales-000.npy"]
)
def test_a_damaged_store_is_mended_by_the_preparation(run, name: str, damage: str) -> None:
    file = run.store.folder / name
    before = file.read_bytes()
    DAMAGE[damage](file)
    session._opened = None
    again = session.open_run()
    ecgnb.prepare(again)
    assert file.read_bytes() == before
    again.store.verify()


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_configuration_or_pointer_is_written_again(run, source: Path, damage: str) -> None:
    latest = run.root / "artifacts" / "runs" / "latest.json"
    for file, message in ((latest, "Run the parameters cell"), (run.path("config.json"), "with its parameters")):
        DAMAGE[damage](file)
        session._opened = None
        with pytest.raises(StageError, match=message):
            session.open_run()
        assert job((), DATASET_DIR=str(source)).metrics == run.metrics
        session._opened = None
        assert session.open_run() == run


def test_a_run_in_a_renamed_folder_is_not_taken_for_a_new_one(run) -> None:
    run.folder.rename(run.folder.with_name("renamed"))
    with pytest.raises(StageError, match="the folder was renamed, or made with another version"):
        session.find_run("renamed")


# Checkpoints and bundles.


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_best_checkpoint_costs_nothing_else(run, damage: str) -> None:
    best = run.path("checkpoints", "best.ckpt")
    DAMAGE[damage](best)
    with pytest.raises(StageError, match=r"best\.ckpt .*Run again: ecgnb\.train"):
        ecgnb.evaluate(run)
    with pytest.raises(CheckpointError, match=r"best\.ckpt .*delete .*checkpoints and train anew"):
        ecgnb.train(run)
    metrics = json.loads(run.path("metrics.json").read_text(encoding="utf-8"))
    shutil.rmtree(best.parent)
    for call in ("train", "evaluate"):
        getattr(ecgnb, call)(run)
    assert run.metrics == metrics


def test_a_last_checkpoint_cut_in_half_stops_an_unfinished_training(source: Path, home: Path) -> None:
    from ecgnb.training import loop

    parameters = {"DATASET_DIR": str(source), "EPOCHS": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "finish_epoch", stop_in_second_epoch(loop.finish_epoch))
        with pytest.raises(KeyboardInterrupt):
            job(**parameters)
    run = job(STAGES[:3], **parameters)
    last = run.path("checkpoints", "last.ckpt")
    whole = last.read_bytes()
    halve(last)
    with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged.*delete .*checkpoints and train anew"):
        ecgnb.train(run)
    last.write_bytes(whole)
    assert list(ecgnb.train(run)["epoch"]) == [1, 2]


def stop_in_second_epoch(finish: Callable) -> Callable:
    def stop(fitting) -> None:
        if fitting.state.epoch:
            raise KeyboardInterrupt
        finish(fitting)

    return stop


def test_a_checkpoint_of_another_configuration(run, source: Path) -> None:
    other = job(STAGES[:3], DATASET_DIR=str(source), LR=5e-4)
    shutil.copytree(run.path("checkpoints"), other.path("checkpoints"))
    with pytest.raises(CheckpointError, match=r"lr was 0\.003, is 0\.0005.*(start a new run|delete)"):
        ecgnb.train(other)
    shutil.rmtree(other.path("checkpoints"))
    assert len(ecgnb.train(other)) == 1


def test_a_checkpoint_of_another_model(run, source: Path) -> None:
    other = job(STAGES[:4], DATASET_DIR=str(source), MODEL_OPTIONS={"widths": [12], "depths": [1]})
    for name in ("best.ckpt",):
        content = run.path("checkpoints", name).read_bytes()
        other.path("checkpoints", name).write_bytes(content)
    note = files.read_json(other.path("stages", "train.json"))
    note["files"]["checkpoints/best.ckpt"] = len(content)  # as if nobody had noticed
    files.write_json(other.path("stages", "train.json"), note)
    with pytest.raises(CheckpointError, match=r"best\.ckpt is of another model \(other shape: .*\(8, .* of \(12"):
        ecgnb.evaluate(other)


def test_a_bundle_with_a_changed_byte(run) -> None:
    weights = run.path("bundle", "model.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"model\.safetensors .*checksum differs.*delete it and evaluate the run"):
        ecgnb.predict(run.predictions["path"].iloc[0])
    shutil.rmtree(weights.parent)
    ecgnb.evaluate(run)
    assert weights.read_bytes() == whole
    assert ecgnb.predict(run.predictions["path"].iloc[0])["problem"].iloc[0] == ""


# Input that changes between two cells.


def test_nothing_is_judged_with_splits_that_it_was_not_trained_on(data: Path, home: Path) -> None:
    run = job(STAGES[:4], DATASET_DIR=str(data))
    for path in sorted((data / "records").glob("*.dat"))[:5]:
        path.write_bytes(b"")
    for stage in STAGES[:3]:
        getattr(ecgnb, stage)(run)
    with pytest.raises(StageError, match=r"changed since the training\. Run again: ecgnb\.train"):
        ecgnb.evaluate(run)


def test_changed_labels_ask_for_another_training_even_in_the_same_splits(data: Path, home: Path) -> None:
    run = job(DATASET_DIR=str(data), SPLIT="kfold", N_FOLDS=3)
    relabel(data, lambda place, old: "AF" if place == 3 and old != "AF" else "NORM" if place == 3 else old)
    ecgnb.load_cohort(run)
    assert not run.is_done("train", training_inputs(run))
    with pytest.raises(StageError, match="labels or splits changed since the training"):
        ecgnb.evaluate(run)


def training_inputs(run) -> dict:
    from ecgnb.stages.train import training_inputs

    return training_inputs(run)


def test_recordings_that_left_the_cohort(data: Path, home: Path) -> None:
    run = job(STAGES[:2], DATASET_DIR=str(data))
    for path in (data / "records").glob("D00001.*"):
        path.unlink()
    ecgnb.load_cohort(run)
    with pytest.raises(StageError, match=r"1 prepared recordings, such as D00001, are not in the cohort any more\."):
        ecgnb.split(run)
    ecgnb.prepare(run)
    ecgnb.split(run)
    assert len(run.store) == N - 1


# The disk.


@contextlib.contextmanager
def files_end_at(n_bytes: int) -> Iterator[None]:
    """Let writes end short as on a full disk: the system refuses files above this size."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("stage", "n_bytes", "error", "file"),
    [
        ("load_cohort", 900, FileError, r"manifest\.csv"),
        ("prepare", 20_000, StoreError, "The disk of"),
        ("split", 700, FileError, r"splits\.json"),
        ("train", 5_000, FileError, r"best\.ckpt"),
        ("evaluate", 10_000, FileError, r"model\.safetensors"),
        ("write_report", 10_000, FileError, r"report\.html"),
    ],
)
def test_a_disk_that_is_full_at_any_stage(source: Path, home: Path, stage: str, n_bytes: int, error, file: str) -> None:
    order = (*STAGES, "write_report")
    before = order[: order.index(stage)]
    run = job(before, DATASET_DIR=str(source))
    with files_end_at(n_bytes), pytest.raises(error, match=rf"{file}.*[Mm]ake room .* run the same"):
        getattr(ecgnb, stage)(run)
    assert not list(home.rglob(".tmp-*"))
    for call in STAGES if stage in STAGES else (*STAGES, stage):
        getattr(ecgnb, call)(run)
    assert len(run.predictions) == len(run.splits.test)


def test_no_space_is_told_as_what_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "_flush_to_disk", full)
        with pytest.raises(FileError, match=r"config\.json cannot be written: No space left on device\. Make room"):
            ecgnb.open_run(TINY)
        assert main(["train", "-p", "EPOCHS", "1"]) == 1
    assert ecgnb.open_run(TINY).path("config.json").is_file()


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write below a folder; from root, who has every right, by a patch."""
    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        mode = folder.stat().st_mode
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(mode)
        return

    def refuse(path: Path) -> None:
        if folder in Path(path).parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_flush_to_disk", refuse)
        yield


def test_a_project_that_may_not_be_written_in(home: Path, source: Path) -> None:
    with read_only(home), pytest.raises(FileError, match=r"Permission denied\. Choose a folder where you may write"):
        job(DATASET_DIR=str(source))
    run = job(STAGES[:2], DATASET_DIR=str(source))
    shutil.rmtree(run.store.folder)
    with (
        read_only(home / "artifacts" / "stores"),
        pytest.raises(StoreError, match=r"cannot be written.*Choose a folder"),
    ):
        ecgnb.prepare(run)
    with read_only(run.folder), pytest.raises((FileError, StoreError)):
        for stage in STAGES:
            getattr(ecgnb, stage)(run)
    assert len(job(DATASET_DIR=str(source)).predictions)


def test_recordings_in_a_folder_that_may_not_be_written_in(data: Path, home: Path) -> None:
    with read_only(data):
        assert len(job(DATASET_DIR=str(data)).predictions)


def test_a_file_where_a_folder_should_be(home: Path) -> None:
    (home / "artifacts").write_text("", encoding="utf-8")
    with pytest.raises(FileError, match=r"artifacts.* cannot be written: .*Choose a folder"):
        ecgnb.open_run(TINY)
    (home / "artifacts").unlink()
    assert ecgnb.open_run(TINY).path("config.json").is_file()
