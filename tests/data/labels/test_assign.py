"""Cohorts: folders, label files, classes, tasks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ecgnb.core.errors import ConfigError, LabelError
from ecgnb.data.config import DataConfig
from ecgnb.data.labels.assign import (
    MAPPING_NAME,
    classes_in,
    cohort_folder,
    load_cohort,
    resolve,
)


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
