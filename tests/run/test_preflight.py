from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from store_helpers import TWELVE, wave_steps, write_wfdb

from ecgnb.core.errors import EcgnbError
from ecgnb.run import preflight as checks
from ecgnb.run import session
from ecgnb.run.config import RunConfig
from ecgnb.run.run import Run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECGNB_HOME", str(tmp_path))
    return tmp_path


def status(table, check: str) -> str:
    return table.set_index("check").loc[check, "status"]


def test_the_demo_passes(home: Path) -> None:
    table = checks.preflight(session.open_run(PROFILE="smoke"))
    assert list(table.columns) == ["check", "status", "finding", "what_to_do"]
    assert set(table["check"]) == {
        "code",
        "data",
        "labels",
        "preparation",
        "model",
        "store",
        "splits",
        "GPU",
        "disk",
        "versions",
        "extras",
    }
    assert not (table["status"] == "fail").any()


def test_a_project_that_has_no_folder_yet_is_checked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECGNB_HOME", str(home / "new" / "folder"))
    run = Run(session.project_root(), RunConfig.from_parameters({}))
    (verdict,) = checks.check_disk(run)
    assert verdict.status == "pass" and not (home / "new").exists()


def test_a_missing_and_an_empty_folder_fail_with_advice(home: Path) -> None:
    with pytest.raises(
        EcgnbError,
        match=r"'.*nowhere', which is no folder \(.*nowhere\)\. Give the folder",
    ):
        checks.preflight(session.open_run(DATASET_DIR=str(home / "nowhere")))
    (home / "empty").mkdir()
    with pytest.raises(EcgnbError, match=r"holds no recordings\. Readable are"):
        checks.preflight(session.open_run(DATASET_DIR=str(home / "empty")))


def test_a_folder_without_labels_fails_and_a_known_layout_is_recognised(
    home: Path,
) -> None:
    folder = home / "data"
    folder.mkdir()
    (folder / "a.hea").write_text("a 1 500 10\n", encoding="utf-8")
    with pytest.raises(EcgnbError, match=r"no label file .*unified_label_mapping\.csv"):
        checks.preflight(session.open_run(DATASET_DIR=str(folder)))
    (folder / "REFERENCE.csv").write_text("a,N\n", encoding="utf-8")
    with pytest.raises(
        EcgnbError, match="this looks like cinc2017: set DATASET='cinc2017'"
    ):
        checks.preflight(session.open_run(DATASET_DIR=str(folder)))


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("REFERENCE.csv", "Recording,First_label,Second_label\nA0001,5,\n", "cpsc2018"),
        ("REFERENCE-v3.csv", "A00001,N\n", "cinc2017"),
        ("exams.csv", "exam_id,patient_id\n1,2\n", "code15"),
        ("ptbxl_database.csv", "ecg_id\n1\n", "ptbxl"),
        ("RECORDS-acceptable", "1000001\n", "cinc2011"),
        ("A0001.hea", "A0001 1 500 10\n#Dx: 426783006\n", "cinc2021"),
    ],
)
def test_a_known_layout_is_told_apart_by_its_content(
    home: Path, file: str, text: str, name: str
) -> None:
    folder = home / "data"
    folder.mkdir()
    (folder / file).write_text(text, encoding="utf-8")
    (folder / "b.npy").write_bytes(b"")
    with pytest.raises(EcgnbError, match=f"this looks like {name}: set DATASET"):
        checks.preflight(session.open_run(DATASET_DIR=str(folder)))


def test_a_class_without_recordings_is_a_warning(finished_run, tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(finished_run.root, copy)
    run = Run(copy, finished_run.config)
    table = checks.preflight(run)
    assert not table["finding"].str.contains("learns nothing").any()
    manifest = run.manifest
    manifest["label"] = manifest["label"].replace("BBB", "NORM")
    (row,) = checks._check_classes(run, manifest["label"], "recordings")
    assert row.status == "warn" and row.finding.startswith("no recordings of BBB")


def test_what_a_preparation_loses_is_said_and_leads_of_most_recordings_fail(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = checks.preflight(session.open_run(TARGET_FS=100, TARGET_SAMPLES=500))
    rows = table[table["check"] == "preparation"]
    assert rows["status"].tolist() == ["warn", "warn"]
    assert "256 of 256 recordings are longer than 5 s" in rows["finding"].iloc[0]
    assert "above 45 Hz are lost" in rows["finding"].iloc[1]

    folder = home / "data"
    for number in range(40):
        leads = TWELVE if number < 30 else ("I",)
        steps = wave_steps(number, len(leads))
        write_wfdb(folder, f"r{number:02d}", steps, leads=leads)
    labels = [f"mine,r{number:02d},AF" for number in range(40)]
    text = "\n".join(["dataset,record_id,mapped_label", *labels])
    (folder / "unified_label_mapping.csv").write_text(text, encoding="utf-8")
    run = session.open_run(DATASET_DIR=str(folder))
    with pytest.raises(EcgnbError, match="preparation: LEADS is empty, so only I will"):
        checks.preflight(run)
    # an architecture for one lead, not for twelve: it is built with the leads to come
    seen: list[int] = []
    build = checks._build_without_memory
    monkeypatch.setattr(
        checks,
        "_build_without_memory",
        lambda run, n_leads: seen.append(n_leads) or build(run, n_leads),
    )
    table = checks.preflight(session.open_run(DATASET_DIR=str(folder), LEADS="I"))
    assert status(table, "preparation") == "pass" and seen == [1]
    assert "1 leads (I)" in table.set_index("check").loc["preparation", "finding"]


def test_too_little_disk_fails_and_says_how_much(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    # 5,000 recordings x 12 leads x 5,000 samples x 2 bytes, twice (files and store),
    # plus a tenth, plus 0.2 GB
    with pytest.raises(EcgnbError, match=r"0\.0 GB free, about 1\.5 GB needed"):
        checks.preflight(session.open_run(PROFILE="medium"))


def test_versions_that_do_not_work_are_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {**checks.installed_versions(), "numpy": "1.26.4"}
    monkeypatch.setattr(checks, "installed_versions", lambda: versions)
    told = r"- versions: numpy 1\.26\.4: ecgnb needs numpy>=2\.0\. pip install \"numpy>=2\.0\""
    with pytest.raises(EcgnbError, match=told):
        checks.preflight(session.open_run(PROFILE="smoke"))


def test_versions_and_extras_are_listed(home: Path) -> None:
    table = checks.preflight(session.open_run(PROFILE="smoke")).set_index("check")
    versions = table.loc[["versions"], "finding"].iloc[-1]
    for package in ("torch", "numpy", "pandas"):
        assert f"{package} {checks.installed_versions()[package]}" in versions
    assert "port" in table.loc["extras", "finding"]


def test_versions_that_may_spoil_a_run_warn(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {**checks.installed_versions(), "torch": "2.9.1"}
    monkeypatch.setattr(checks, "installed_versions", lambda: versions)
    table = checks.preflight(session.open_run(PROFILE="smoke"))
    (warned,) = table.loc[
        (table["check"] == "versions") & (table["status"] == "warn"), "finding"
    ]
    assert warned.startswith("torch 2.9.1: ")


def test_leakage_between_the_splits_is_a_warning(
    finished_run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status(checks.preflight(finished_run), "splits") == "pass"
    records = finished_run.records.copy()
    train, test = finished_run.splits.train[0], finished_run.splits.test[0]
    records.loc[test, "patient_id"] = records.loc[train, "patient_id"]
    finished_run._cache["records"] = records
    table = checks.preflight(finished_run)
    assert status(table, "splits") == "warn"
    assert (
        table.set_index("check")
        .loc["splits", "finding"]
        .startswith("1 patients, signals, twins or copies")
    )


def test_a_store_that_was_removed_is_made_again(finished_run, tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(finished_run.root, copy)
    shutil.rmtree(copy / "artifacts" / "stores")
    run = Run(copy, finished_run.config)
    table = checks.preflight(run)
    assert status(table, "store") == status(table, "splits") == "warn"
    assert "does not exist" in table.set_index("check").loc["store", "finding"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"OBJECTIVE": "supervisd"}, "Did you mean 'supervised'"),
        ({"OBJECTIVE_OPTIONS": {"lr": 1}}, "'supervised' has no option 'lr'"),
        ({"CALLBACKS": ["step_lag"]}, "Did you mean 'step_log'"),
    ],
)
def test_unknown_objectives_options_and_callbacks_fail(
    home: Path, parameters: dict, message: str
) -> None:
    run = session.open_run(**parameters)
    (verdict,) = checks.check_model(run)
    assert verdict.status == "fail" and message in verdict.finding
