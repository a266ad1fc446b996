"""CPSC 2018: its table of labels."""

from __future__ import annotations

import pytest
from catalog_helpers import labels

from ecgnb.core.errors import LabelError
from ecgnb.data.catalog import find_records


def test_cpsc2018_with_the_table_of_the_challenge(tmp_path):
    for name in ("A0001", "A0002"):
        (tmp_path / "TrainingSet1").mkdir(exist_ok=True)
        (tmp_path / "TrainingSet1" / f"{name}.mat").touch()
    (tmp_path / "REFERENCE.csv").write_text(
        "Recording,First_label,Second_label,Third_label\nA0001,5,,\nA0002,1,2,9\nA0003,3,,\n"
    )
    manifest = find_records("cpsc2018", tmp_path)
    assert manifest[["record_id", "label"]].values.tolist() == [
        ["A0001", "RBBB"],
        ["A0002", "NSR|AF|STE"],
    ]
    assert manifest.attrs["n_absent"] == 1
    assert labels("cpsc2018", tmp_path, label_set="unified") == {
        "A0001": "BBB",
        "A0002": "AF",
    }
    (tmp_path / "REFERENCE.csv").write_text("Recording,First_label\nA0001,10\n")
    with pytest.raises(LabelError, match="labels A0001 '10'"):
        find_records("cpsc2018", tmp_path)


def test_tables_with_different_columns_and_a_row_without_a_label(tmp_path):
    for name in ("A0001", "A0002", "A0003"):
        (tmp_path / f"{name}.mat").touch()
    (tmp_path / "REFERENCE.csv").write_text(
        "Recording,First_label,Second_label\nA0001,5.0,\nA0003,nan,\n"
    )
    (tmp_path / "set2").mkdir()
    (tmp_path / "set2" / "REFERENCE.csv").write_text("Recording,Label\nA0002,AF\n")
    expected = {"A0001": "RBBB", "A0002": "AF", "A0003": ""}
    assert labels("cpsc2018", tmp_path) == expected
    unified = {"A0001": "BBB", "A0002": "AF", "A0003": ""}
    assert labels("cpsc2018", tmp_path, label_set="unified") == unified
    (tmp_path / "set2" / "REFERENCE.csv").write_text("Recording,Label\nA0001,AF\n")
    with pytest.raises(LabelError, match="A0001 AF, another table RBBB"):
        find_records("cpsc2018", tmp_path)
