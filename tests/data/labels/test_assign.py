"""Cohorts: folders, label files, classes, tasks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from catalog_helpers import write_record

from ecgnb.core.errors import ConfigError, LabelError
from ecgnb.data.config import DataConfig
from ecgnb.data.labels.assign import (
    MAPPING_NAME,
    classes_in,
    cohort_folder,
    load_cohort,
    resolve,
)
from ecgnb.data.labels.targets import encode


@pytest.fixture
def folder(tmp_path):
    """Three recordings whose label file names two classes."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in ("a", "b", "c"):
        np.save(folder / f"{name}.npy", np.zeros((12, 50)))
    text = "dataset,record_id,mapped_label\nx,a,sick\nx,b,healthy|sick\n"
    (folder / MAPPING_NAME).write_text(text)
    return folder


def load(folder, **options):
    config = DataConfig(dataset_dir=str(folder), **options)
    return load_cohort(config, folder.parent, folder, target_fs=500)


def test_the_label_file_in_the_folder_gives_labels_classes_and_task(folder):
    cohort = load(folder)
    assert cohort.classes == ("healthy", "sick")
    assert cohort.manifest["label"].tolist() == ["sick", "healthy|sick"]
    assert cohort.manifest["dataset"].tolist() == ["folder", "folder"]
    assert cohort.task == "multilabel"
    assert (cohort.coverage.n_records, cohort.coverage.n_dropped) == (3, 1)


def test_another_label_file_and_order_of_classes(folder):
    text = "dataset,record_id,mapped_label\nx,a,sick\nx,c,healthy\nx,b,tired\n"
    (folder.parent / "labels.csv").write_text(text)
    order = ("sick", "healthy", "OTHER")
    cohort = load(folder, mapping_csv="labels.csv", label_order=order)
    assert cohort.classes == order and cohort.task == "multiclass"
    assert cohort.manifest["label"].tolist() == ["sick", "OTHER", "healthy"]
    assert cohort.coverage.not_classes == {"tired": 1}


def test_contradictions_are_refused(folder):
    with pytest.raises(
        ConfigError, match="recordings such as 'b' carry several labels or none"
    ):
        load(folder, task="multiclass")
    (folder / MAPPING_NAME).unlink()
    with pytest.raises(LabelError, match=f"Put {MAPPING_NAME}"):
        load(folder)
    with pytest.raises(ConfigError, match="DATASET_DIR is empty"):
        cohort_folder(DataConfig(dataset="ptbxl"), folder)


def test_relative_folders_refer_to_the_project(tmp_path):
    assert resolve("data/x", tmp_path) == tmp_path / "data" / "x"
    config = DataConfig(dataset_dir="data")
    assert cohort_folder(config, tmp_path) == tmp_path / "data"


def test_classes_of_a_label_file():
    def classes(*labels):
        return classes_in(pd.DataFrame({"mapped_label": labels}))

    assert classes("mi", "AF|NORM") == ("MI", "AF", "NORM")  # those that occur
    assert classes("NORM", "AF") == ("AF", "NORM")  # in the usual order
    assert classes("z", "OTHER| a", "[]", "") == ("a", "z", "OTHER")


def write_labels(folder, text, name=MAPPING_NAME):
    (folder / name).write_text(text)


def test_columns_of_the_label_file_are_parameters(folder):
    write_labels(folder, "file;tired;sick;who\na;0;1;7\nb;0;0;7.0\nc;1;0;NA\n", "t.csv")
    cohort = load(
        folder,
        mapping_csv=str(folder / "t.csv"),
        record_column="file",
        one_hot_columns=("sick", "tired"),
        patient_column="who",
    )
    assert cohort.classes == ("sick", "tired") and cohort.task == "multilabel"
    assert cohort.manifest["label"].tolist() == ["sick", "", "tired"]
    assert cohort.manifest["patient_id"].tolist() == ["7", "7", ""]
    targets = encode(cohort.manifest["label"], cohort.classes, cohort.task)
    assert targets.tolist() == [[1, 0], [0, 0], [0, 1]]  # b has neither
    with pytest.raises(ConfigError, match="'b' carry several labels or none"):
        load(
            folder,
            mapping_csv=str(folder / "t.csv"),
            record_column="file",
            one_hot_columns=("sick", "tired"),
            task="multiclass",
        )


def test_a_label_file_of_a_known_data_set_has_its_own_classes(tmp_path):
    for name in ("A00001", "A00002"):
        write_record(tmp_path, name, suffix=".mat")
    (tmp_path / "REFERENCE.csv").write_text("A00001,N\nA00002,A\n")
    write_labels(tmp_path, "record_id,mapped_label\nA00001,fast\nA00002,slow\n")
    options = {"dataset": "cinc2017", "dataset_dir": str(tmp_path)}
    file = str(tmp_path / MAPPING_NAME)
    cohort = load_cohort(
        DataConfig(**options, mapping_csv=file), tmp_path, tmp_path, 300
    )
    assert cohort.classes == ("fast", "slow")
    cohort = load_cohort(DataConfig(**options), tmp_path, tmp_path, 300)
    assert cohort.classes == ("N", "A", "O", "~")


def test_two_classes_in_the_file_are_two_outputs(folder, capsys, monkeypatch):
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    write_labels(folder, "record_id,mapped_label\na,NORM\nb,AF\n")
    cohort = load(folder)
    assert cohort.classes == ("AF", "NORM")
    assert cohort.manifest["record_id"].tolist() == ["a", "b"]
    text = capsys.readouterr().out
    assert "The classes are those of the label file: AF, NORM." in text
    assert (
        "1 of 3 recordings are left out: 1 that the label file does not name. With "
        "OTHER in LABEL_ORDER the last ones are OTHER." in text
    )


def test_spellings_of_true_and_false_are_two_classes(folder):
    write_labels(folder, "record_id,mapped_label\na,TRUE\nb,False\nc,true\n")
    cohort = load(folder)
    assert len(cohort.classes) == 2
    assert cohort.manifest["label"].nunique() == 2


def test_a_class_without_recordings_is_said(folder, capsys, monkeypatch):
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    load(folder, label_order=("healthy", "sick", "tired"))
    assert "No recording has the label tired" in capsys.readouterr().out


def test_a_missing_label_file_names_the_tables_that_are_there(folder):
    (folder / MAPPING_NAME).rename(folder / "labels.csv")
    (folder / "more.xlsx").write_bytes(b"PK")
    message = r"MAPPING_CSV \(there is labels\.csv, more\.xlsx\)"
    with pytest.raises(LabelError, match=message):
        load(folder)


def test_recordings_of_the_challenge_without_a_scored_class_stay_in(tmp_path):
    for name, dx in (("A0001", "164873001"), ("A0002", "164889003"), ("A0003", "")):
        write_record(tmp_path, name, f"Dx: {dx}", ".mat")
    config = DataConfig(dataset="cinc2020", dataset_dir=str(tmp_path))
    cohort = load_cohort(config, tmp_path, tmp_path, target_fs=500)
    assert cohort.manifest["record_id"].tolist() == ["A0001", "A0002"]
    assert cohort.manifest["label"].tolist() == ["", "AF"]
    assert (cohort.task, cohort.coverage.n_unknown) == ("multilabel", 1)
    assert encode(cohort.manifest["label"], cohort.classes, cohort.task)[0].sum() == 0


def test_codes_that_are_not_understood_are_in_the_account_and_never_other(tmp_path):
    for name, dx in (("A0001", "what"), ("A0002", "164889003,what"), ("A0003", "1")):
        write_record(tmp_path, name, f"Dx: {dx}", ".mat")
    options = {"dataset": "cinc2020", "dataset_dir": str(tmp_path)}
    config = DataConfig(**options, label_set="unified")
    cohort = load_cohort(config, tmp_path, tmp_path, target_fs=500)
    assert cohort.manifest["label"].tolist() == ["AF"]
    counts = cohort.coverage.table().set_index("what")["count"]
    assert counts["code 'what' is not understood"] == 2
    assert counts["without a label: OTHER"] == 0


#: Folders of the cases with the classes of their label files.
CASES = {
    "apostrophe": ("MI", "AF", "BBB", "NORM"),
    "excelid": ("MI", "AF", "BBB", "NORM"),
    "id_float": ("MI", "AF", "BBB", "NORM"),
    "zeros_float": ("MI", "AF", "BBB", "NORM"),
    "zeros_lost": ("MI", "AF", "BBB", "NORM"),
    "label_lower": ("MI", "AF", "BBB", "NORM"),
    "label_bool": ("False", "True"),
    "label_float": ("0", "1"),
    "label_nan": ("MI", "AF", "BBB", "NORM"),
    "sep_semi_multi": ("MI", "AF", "BBB", "NORM"),
    "sep_comma_multi": ("MI", "AF", "BBB", "NORM"),
    "label_comma": ("AF", "Block, left", "MI", "NORM"),
}


@pytest.mark.parametrize("name", CASES)
def test_folders_of_the_cases(cases_dir, name):
    folder = cases_dir / "labels" / name
    config = DataConfig(dataset_dir=str(folder))
    cohort = load_cohort(config, folder, folder, target_fs=500)
    assert cohort.classes == CASES[name]
    n_unknown = 4 if name == "label_nan" else 0
    assert len(cohort.manifest) == cohort.coverage.n_records - n_unknown > 7
    several = name in ("sep_semi_multi", "sep_comma_multi")
    assert cohort.task == ("multilabel" if several else "multiclass")
