"""Bad input through the public face: a clear error or a row in ``rejected.csv``, and
nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from small_jobs import MAPPING, STAGES, TINY, N, job, relabel, wave, write_wfdb

import ecgnb
from ecgnb.cli.main import main
from ecgnb.core.errors import (
    ConfigError,
    EcgnbError,
    LabelError,
    ReadError,
    SplitError,
    StoreError,
)
from ecgnb.data.signal.leads import STANDARD_12


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
    pressure.write_text(
        pressure.read_text(encoding="utf-8").replace("/mV", "/mmHg"), encoding="utf-8"
    )


def write_bad_arrays(folder: Path) -> None:
    (folder / "text_at_the_end.csv").write_text(
        csv_text(wave(40)) + ",".join(["oops"] * 12) + "\n", encoding="utf-8"
    )
    rows = csv_text(wave(41)).split("\n")
    (folder / "text_at_the_start.csv").write_text(
        "\n".join([*rows[:3], "bad" + rows[3], *rows[4:]]), encoding="utf-8"
    )
    (folder / "only_a_heading.csv").write_text(
        "# fs: 500\n" + ",".join(STANDARD_12) + "\n", encoding="utf-8"
    )
    np.save(folder / "no_rate.npy", wave(42) / 1000)
    signal = wave(43) / 1000
    signal[4, 2500] = np.inf
    np.savez(
        folder / "infinite.npz", signal=signal, fs=500, leads=np.array(STANDARD_12)
    )
    np.save(
        folder / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True
    )
    (folder / "junk_numpy.npy").write_bytes(b"junk")
    (folder / "empty_numpy.npy").write_bytes(b"")
    (folder / "junk_matlab.mat").write_bytes(b"junk" * 100)


def write_odd(folder: Path) -> None:
    write_wfdb(folder, "six_seconds", wave(50, 3000))
    write_wfdb(folder, "rate_250_hz", wave(51, 2500), fs=250)
    flat = wave(52)
    flat[6] = 0
    write_wfdb(folder, "one_lead_flat", flat)
    kept = [
        STANDARD_12.index(name)
        for name in STANDARD_12
        if name not in ("III", "aVR", "aVL", "aVF")
    ]
    write_wfdb(
        folder,
        "limb_leads_missing",
        wave(53)[kept],
        leads=[STANDARD_12[row].lower() for row in kept],
    )
    write_wfdb(folder, "twin_a", wave(54))
    write_wfdb(folder, "twin_b", wave(54))
    (folder / "a_csv.csv").write_text(csv_text(wave(55)), encoding="utf-8")
    np.savez(
        folder / "an_npz.npz",
        signal=wave(56) / 1000,
        fs=500,
        leads=np.array(STANDARD_12),
        units="mV",
    )
    scipy.io.savemat(
        folder / "a_struct.mat",
        {"ECG": {"sex": "Male", "age": 60, "data": wave(57) / 1000}},
    )
    write_wfdb(folder / "Ordner mit Ü", "Aufnahme_ä1", wave(58))
    np.savez(
        folder / "Ordner mit Ü" / "far away.npz",
        signal=wave(59) / 1000,
        fs=500,
        leads=np.array(STANDARD_12),
    )


def write_junk(folder: Path) -> None:
    (folder / "notes.txt").write_text(
        "Some recordings.\nThey are ours.\n", encoding="utf-8"
    )
    (folder / "photo.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.hea").write_text("hidden 1 500 10\n", encoding="utf-8")
    (folder / "ages.csv").write_text("record,age\nD00001,50\n", encoding="utf-8")
    with contextlib.suppress(OSError):  # Windows asks for a right to make links
        (folder / "loop").symlink_to(folder.parent, target_is_directory=True)


def label_rows() -> list[str]:
    """Labels by name, by Windows path, twice; for recordings that are not there;
    without label."""
    rows = [f"folder,{name},NORM" for name in ODD[:6]]
    rows += [f"any,C:\\data\\{name}.csv,AF" for name in ODD[6:10]]
    rows += [f"other,{name},MI" for name in ODD[10:]]
    rows += ["folder,twin_a,NORM", "folder,cut,NORM", "folder,six_seconds,"]
    return [*rows, "folder,ghost,AF", "other,C:\\data\\ghost2.hea,AF"]


def test_one_dirty_folder_end_to_end(recordings: Path, project: Path) -> None:
    records = recordings / "records"
    for write in (write_bad_wfdb, write_bad_arrays, write_odd, write_junk):
        write(records)
    with open(recordings / MAPPING, "a", encoding="utf-8") as file:
        file.write("\n".join(label_rows()) + "\n")
    run = job((*STAGES, "write_report"), DATASET_DIR=str(recordings))
    stored, rejected = run.store.records, run.store.rejected
    assert dict(zip(rejected["record_id"], rejected["reason"], strict=True)) == BAD
    assert set(stored["record_id"]) == {
        f"D{number:05d}" for number in range(1, N + 1)
    } | set(ODD)
    assert all(name in message for name, message in zip(rejected["record_id"], rejected["message"], strict=True)
               if name in ("cut", "text_at_the_end", "junk_numpy", "no_rate"))  # fmt: skip
    assert (
        "'oops' in row 5004, column 'I'"
        in rejected.set_index("record_id").loc["text_at_the_end", "message"]
    )

    coverage = run.coverage.set_index("what")["count"]
    assert coverage["recordings found"] == N + len(ODD) + len(BAD)
    assert coverage["with a label"] == N + len(ODD) + 1  # `cut` has one, too
    assert coverage["rows of unknown recordings"] == 2

    about = stored.set_index("record_id")
    assert tuple(about.loc["six_seconds", ["valid_start", "valid_stop"]]) == (200, 800)
    assert (
        about.loc["one_lead_flat", "flags"] == "flat_leads:V1"
        and about.loc["few_nan", "flags"] == "nan_repaired"
    )
    part = {row: name for name, rows in run.splits.parts.items() for row in rows}
    assert part[about.loc["twin_a", "row"]] == part[about.loc["twin_b", "row"]]
    assert len(part) == len(stored)
    assert len(run.predictions) == len(run.splits.test)
    assert "header_garbage" in run.path("report.html").read_text(encoding="utf-8")


# Folders and label files.


def nothing(recordings: Path) -> None:
    for path in (recordings / "records").iterdir():
        path.unlink()


def no_header_readable(recordings: Path) -> None:
    for path in (recordings / "records").glob("*.hea"):
        path.write_bytes(b"\xff\xfe junk")


def all_cut(recordings: Path) -> None:
    for path in (recordings / "records").glob("*.dat"):
        path.write_bytes(b"")


def label_file(text: bytes | str) -> Callable[[Path], None]:
    return lambda recordings: (
        (recordings / MAPPING).write_bytes(
            text if isinstance(text, bytes) else text.encode()
        )
        and None
    )


HEAD = "dataset,record_id,mapped_label\n"

FOLDERS: dict[str, tuple[Callable[[Path], object], type[EcgnbError], str]] = {
    "empty folder": (nothing, ReadError, r"data holds no recording of folder\. Expected there: WFDB"),
    "no readable header": (no_header_readable, StoreError, r"None of .*(can be read|can be used).*"),
    "all rejected": (all_cut, StoreError, r"None of the 40 recordings can be used: 40 truncated\. See .*rejected\.csv"),
    "no label file": (lambda folder: (folder / MAPPING).unlink(), LabelError, r"no label file .* Put unified_label"),
    "empty label file": (label_file(b"\n"), LabelError, r"no column record_id.*It needs the columns record_id"),
    "other columns": (label_file("a,b\n1,2\n"), LabelError, r"its columns are a, b\. It needs"),
    "binary label file": (label_file(bytes(range(256))), LabelError, r"mapping\.csv has no column record_id"),
    "no rows": (label_file(HEAD), LabelError, r"None of the 40 recordings is in the mapping of 0 rows.*Make record_id"),
    "unknown records": (label_file(HEAD + "x,ghost,AF\n"), LabelError, r"None of the 40 .* the mapping names ghost"),
    "contradiction": (label_file(HEAD + "x,D00001,AF\nx,D00001,MI\n"), LabelError, r"D00001 = AF and D00001 = MI\. "),
    "ragged": (label_file(HEAD + "x,D00001,AF\nx,D00002,MI,1,2\n"), LabelError, r"line 3, saw 5\. Correct that line"),
    "nameless": (label_file(HEAD + "x,D00001,AF\nx,,MI\n"), LabelError, r"1 rows without a record_id: rows 3"),
    "one class": (lambda folder: relabel(folder, lambda *_: "NORM"), LabelError, r"All 40 .* labelled 'NORM'.*Add"),
    "two recordings": (
        lambda recordings: [path.write_bytes(b"") for path in sorted((recordings / "records").glob("*.dat"))[2:]],
        EcgnbError, r"(2 records of \d patients cannot be divided into 3|All 2 prepared recordings are labelled)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "error", "message"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_that_cannot_be_used_and_the_same_call_when_it_can(
    recordings: Path,
    forty: Path,
    project: Path,
    spoil,
    error: type[EcgnbError],
    message: str,
) -> None:
    spoil(recordings)
    with pytest.raises(error, match=message):
        job(STAGES[:3], DATASET_DIR=str(recordings))
    assert not list(project.rglob(".tmp-*"))
    shutil.rmtree(recordings)
    shutil.copytree(forty, recordings)
    assert len(job(STAGES[:3], DATASET_DIR=str(recordings)).store) == N


def test_no_folder_and_a_file_for_a_folder(project: Path, recordings: Path) -> None:
    for folder in (project / "nowhere", recordings / MAPPING):
        with pytest.raises(
            ReadError, match=rf"There is no folder .*{folder.name}.*Check the path"
        ):
            job(DATASET_DIR=str(folder))
    with pytest.raises(ConfigError, match="DATASET_DIR is empty; give its folder"):
        job(DATASET="ptbxl")


def test_a_locked_folder_is_reported_and_the_others_are_used(
    recordings: Path,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (recordings / "locked").mkdir()
    listing = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    assert len(job(STAGES[:2], DATASET_DIR=str(recordings)).store) == N
    assert (
        "locked cannot be read (Permission denied); recordings in it are left out."
        in capsys.readouterr().out
    )


# Labels that are unusual, and good.


def cycle(*labels: str) -> Callable[[int, str], str]:
    return lambda place, _: labels[place % len(labels)]


USUAL: dict[str, tuple[Callable[[int, str], str], dict[str, object], str]] = {
    "two classes": (cycle("NORM", "AF"), {"LABEL_ORDER": ["NORM", "AF"]}, "multiclass"),
    "a class with one record": (
        lambda place, _: "MI" if place == 0 else ("NORM", "AF")[place % 2],
        {},
        "multiclass",
    ),
    "several labels": (
        cycle("AF", "BBB|AF", "NORM", "AF|MI", "MI|BBB"),
        {},
        "multilabel",
    ),
    "several labels, one class in no record": (
        cycle("A", "B|A", "B"),
        {"LABEL_ORDER": ["A", "B", "C"]},
        "multilabel",
    ),
    "labels in another case": (cycle("norm", "Af"), {}, "multiclass"),
}


@pytest.mark.parametrize(("label", "parameters", "task"), USUAL.values(), ids=USUAL)
def test_unusual_labels_train_and_are_evaluated(
    recordings: Path, project: Path, label, parameters, task: str
) -> None:
    run = job(DATASET_DIR=str(relabel(recordings, label)), **parameters)
    assert run.task == task
    if run.classes == ("A", "B", "C"):  # the figures of a class that no record has
        ecgnb.write_report(run)
    probabilities = run.predictions[
        [f"probability_{name}" for name in run.classes]
    ].to_numpy()
    assert np.isfinite(probabilities).all()
    if task == "multiclass":
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    evaluated = {row["class"] for row in run.metrics["per_class"]}
    assert evaluated == set(run.classes)


def test_a_class_that_a_part_lacks_is_reported(
    recordings: Path, project: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    relabel(
        recordings, lambda place, _: "MI" if place == 0 else ("NORM", "AF")[place % 2]
    )
    run = job(STAGES[:3], DATASET_DIR=str(recordings))
    assert "Class MI has only 1 patients" in capsys.readouterr().out
    assert any(
        "Class MI is missing in" in warning for warning in run.splits.report["warnings"]
    )


def test_twelve_and_one_lead_recordings_in_one_folder(
    recordings: Path, project: Path
) -> None:
    for number in range(5):
        write_wfdb(
            recordings / "records",
            f"single{number}",
            wave(number, n_leads=1),
            leads=["II"],
        )
    run = job(DATASET_DIR=str(recordings))
    assert (
        len(run.store) == N
        and list(run.store.rejected["reason"]) == ["missing_leads"] * 5
    )
    assert (
        run.store.rejected["message"].str.contains("Set MISSING_LEADS to 'zero'").all()
    )
    filled = job(DATASET_DIR=str(recordings), MISSING_LEADS="zero")
    assert len(filled.store) == N + 5
    one = job(DATASET_DIR=str(recordings), LEADS=["II"])
    assert len(one.store) == N + 5 and one.store.leads == ("II",)


def test_only_short_recordings_are_padded_and_masked(
    tmp_path: Path, project: Path
) -> None:
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
    "unknown profile": ({"PROFILE": "large"}, ConfigError, r"PROFILE is 'large'; choose one of 'smoke', 'medium', 'full'"),
    "unknown data set": ({"DATASET": "ptbx"}, ConfigError, r"no data set called 'ptbx'\. Did you mean 'ptbxl'"),
    "unknown label set": ({"LABEL_SET": "all"}, ConfigError, r"no label set 'all'.*It has: unified"),
    "unknown model": ({"MODEL": "resnet1"}, ConfigError, r"no model called 'resnet1'\. Did you mean 'resnet1d'"),
    "unknown option": ({"MODEL_OPTIONS": {"wid": [8]}}, ConfigError, r"no option 'wid'\. Did you mean 'widths'"),
    "option of a wrong type": ({"MODEL_OPTIONS": {"widths": 8}}, ConfigError, r"options \{'widths': 8\}.*defaults are"),
    "option the data decide": ({"MODEL_OPTIONS": {"n_classes": 3}}, ConfigError, r"names n_classes.*Leave it out"),
    "option out of range": ({"MODEL_OPTIONS": {"dropout": 3}}, ConfigError, r"dropout must be at least 0 and below 1; it is 3"),
    "unknown augmentation": ({"AUGMENT": ["nois"]}, ConfigError, r"no transform called 'nois'.*Available: amplitude"),
    "augmentation of a wrong type": ({"AUGMENT": [3]}, ConfigError, r"A transform needs a name; 3 has none"),
    "transform's option of a wrong type": (
        {"TRANSFORMS": [{"name": "bandpass", "low": "x"}]}, ConfigError, r"'bandpass'.*\{'low': 'x'\}"),
    "band above half the rate": ({"TRANSFORMS": [{"name": "bandpass", "high": 60}]}, ConfigError, r"high=60 Hz.*lower"),
    "test of nothing": ({"TEST_FRACTION": 0}, ConfigError, r"TEST_FRACTION 0 must be above 0"),
    "test of all": ({"TEST_FRACTION": 1.0}, ConfigError, r"TEST_FRACTION 1 must be above 0 and leave something"),
    "no room for training": ({"TEST_FRACTION": 0.9}, ConfigError, r"0\.1 and TEST_FRACTION 0\.9.*leave something"),
    "test of NaN": ({"TEST_FRACTION": float("nan")}, ConfigError, r"TEST_FRACTION is nan; .*finite number"),
    "infinite rate": ({"LR": "inf"}, ConfigError, r"LR is 'inf'; .*finite number"),
    "no such fold": ({"SPLIT": "kfold", "N_FOLDS": 3, "TEST_FOLD": 3}, ConfigError, r"TEST_FOLD is 3; give 0 to 2"),
    "more folds than patients": ({"SPLIT": "kfold", "N_FOLDS": 100}, SplitError, r"cannot be divided into 100.*N_FOLDS"),
    "no official folds": ({"SPLIT": "official"}, SplitError, r"0 official folds.*Set SPLIT to 'stratified'"),
    "seed of twenty digits": ({"SEED": 10**20}, ConfigError, r"seed is 1000.*at most 18 digits"),
    "leads nobody has": ({"LEADS": ["X9"]}, StoreError, r"None of the 40 .* 40 missing_leads\. See"),
    "half precision on a CPU": ({"MIXED_PRECISION": "fp16", "DEVICE": "cpu"}, ConfigError, r"fp16.*Use 'auto'"),
    "several labels for one class": ({"TASK": "multiclass"}, ConfigError, r"recordings such as 'D0\d+' carry several"),
    "diverging": ({"LR": 1e30}, EcgnbError, r"became nan in epoch 1 at step \d, over store rows .* lower lr \(now 1e"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*bfloat16")
@pytest.mark.parametrize(
    ("parameters", "error", "message"), PARAMETERS.values(), ids=PARAMETERS
)
def test_a_wrong_parameter_is_refused_with_advice(
    recordings: Path,
    project: Path,
    parameters: dict,
    error: type[EcgnbError],
    message: str,
) -> None:
    if "TASK" in parameters:
        relabel(recordings, cycle("AF", "BBB|AF"))
    with pytest.raises(error, match=message):
        job(**{"DATASET_DIR": str(recordings), **parameters})


@pytest.mark.parametrize(
    "name", ["unknown model", "unknown option", "augmentation of a wrong type"]
)
def test_the_preflight_finds_it_before_anything_is_prepared(
    recordings: Path, project: Path, name: str, capsys
) -> None:
    parameters, _, message = PARAMETERS[name]
    with pytest.raises(EcgnbError, match="model: .*" + message):
        ecgnb.preflight(
            ecgnb.open_run({**TINY, "DATASET_DIR": str(recordings), **parameters})
        )
    options = [
        text
        for key, value in parameters.items()
        for text in ("-p", key, json.dumps(value).strip('"'))
    ]
    assert main(["train", "-p", "DATASET_DIR", str(recordings), *options]) == 1
    assert "The preflight found" in capsys.readouterr().err
    assert not (project / "artifacts" / "stores").exists()


# Each row is one training; rows combine parameters that do not touch each other.
GOOD: dict[str, dict[str, object]] = {
    "more than there are, text for a number, loss": {
        "PREPROCESS_LIMIT": 10_000,
        "TEST_FRACTION": "0.3",
        "MONITOR": "loss",
    },
    "few": {"PREPROCESS_LIMIT": 8},
    "large test, weighted": {"TEST_FRACTION": 0.6, "SAMPLER": "weighted"},
    "tiny test, two batches a step": {"TEST_FRACTION": 1e-9, "GRAD_ACCUM_STEPS": 2},
    "dry run": {"DRY_RUN": True, "EPOCHS": 5},
    "a fold": {"SPLIT": "kfold", "N_FOLDS": 3, "TEST_FOLD": 1},
    "macro AUROC, one-cycle, augmented": {
        "MONITOR": "macro_auroc",
        "SCHEDULER": "one-cycle",
        "AUGMENT": ["gaussian_noise", "time_shift"],
    },
    "bfloat16, untransformed": {
        "MIXED_PRECISION": "bf16",
        "DEVICE": "cpu",
        "TRANSFORMS": [],
    },
    "more batches a step than there are, float16": {
        "GRAD_ACCUM_STEPS": 100,
        "STORE_DTYPE": "float16",
    },
    "one record a batch, negative seeds": {
        "BATCH_SIZE_CPU": 1,
        "SEED": -1,
        "SPLIT_SEED": -5,
    },
    "an odd rate": {"TARGET_FS": 133, "TARGET_SAMPLES": 777},
}


@pytest.mark.filterwarnings("ignore:.*bfloat16")
@pytest.mark.parametrize("parameters", GOOD.values(), ids=GOOD)
def test_unusual_good_parameters_train(
    forty: Path, project: Path, parameters: dict
) -> None:
    run = job(DATASET_DIR=str(forty), **parameters)
    assert np.isfinite(run.history["train_loss"]).all() and len(run.history) == 1
    assert len(run.predictions) == len(run.splits.test) > 0
    assert (
        sum(map(len, run.splits.parts.values()))
        == len(run.store)
        == min(N, parameters.get("PREPROCESS_LIMIT", N))
    )


def test_the_folds_of_a_cross_validation_share_no_test_record(
    forty: Path, project: Path
) -> None:
    folds = []
    for fold in range(3):
        parameters = {**GOOD["a fold"], "TEST_FOLD": fold}
        run = job(STAGES[:3], DATASET_DIR=str(forty), **parameters)
        folds.append(run.splits.test)
    assert sorted(np.concatenate(folds)) == list(range(N))


def test_a_relative_folder_a_tilde_and_a_name_with_blanks(
    recordings: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(job(STAGES[:2], DATASET_DIR="../data").store) == N
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert len(job(STAGES[:2], DATASET_DIR="~/data").store) == N
    recordings.rename(tmp_path / "Ordner mit Ü & Leerzeichen")
    project = tmp_path / "Prüf Stand"
    project.mkdir()
    monkeypatch.setenv("ECGNB_HOME", str(project))
    run = job(DATASET_DIR="../Ordner mit Ü & Leerzeichen")
    assert len(run.store) == N and run.path("bundle", "bundle.json").is_file()
    assert ecgnb.predict(run.predictions["path"].iloc[0])["problem"].iloc[0] == ""
