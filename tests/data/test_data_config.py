from __future__ import annotations

import pytest

from ecgnb.core.errors import ConfigError
from ecgnb.data.config import DataConfig, PrepareConfig, SplitConfig


def test_the_data_set_follows_from_the_folder() -> None:
    assert DataConfig().name == "demo"
    assert DataConfig(dataset_dir="data").name == "folder"
    assert DataConfig(dataset="ptbxl", dataset_dir="data").name == "ptbxl"


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (DataConfig, {"dataset": "demo", "dataset_dir": "x"}, "DATASET_DIR is 'x'"),
        (DataConfig, {"dataset": "ptbxi"}, "Did you mean 'ptbxl'"),
        (DataConfig, {"task": "binary"}, "TASK is 'binary'"),
        (DataConfig, {"preprocess_limit": -1}, "PREPROCESS_LIMIT is -1"),
        (DataConfig, {"label_order": ("A", "A")}, "names a class twice"),
        (PrepareConfig, {"crop": "middle"}, "CROP is 'middle'"),
        (PrepareConfig, {"filters": ("iir_notchh",)}, "Did you mean 'iir_notch'"),
        (PrepareConfig, {"target_fs": 10.0}, "a rate from 50 to 5000 Hz"),
        (SplitConfig, {"split": "random"}, "SPLIT is 'random'"),
    ],
)
def test_a_wrong_value_is_refused(kind: type, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**values)


def test_columns_of_a_label_file_need_one():
    message = "RECORD_COLUMN is 'file', but there is no label file.*MAPPING_CSV"
    with pytest.raises(ConfigError, match=message):
        DataConfig(dataset="ptbxl", dataset_dir="d", record_column="file")
    with pytest.raises(ConfigError, match="PATIENT_COLUMN"):
        DataConfig(patient_column="who")
    with pytest.raises(ConfigError, match="LABEL_COLUMN is 'a' and ONE_HOT_COLUMNS"):
        DataConfig(dataset_dir="d", label_column="a", one_hot_columns=("MI", "AF"))
    DataConfig(dataset="ptbxl", dataset_dir="d", mapping_csv="m", record_column="file")


@pytest.mark.parametrize("name", ["label_order", "one_hot_columns"])
def test_names_of_classes_are_distinct_and_without_separator(name) -> None:
    with pytest.raises(ConfigError, match="names a class twice"):
        DataConfig(dataset_dir="d", **{name: ("MI", "AF", "MI")})
    with pytest.raises(ConfigError, match=r"contains 'MI\|AF'"):
        DataConfig(dataset_dir="d", **{name: ("MI|AF", "NORM")})
