from __future__ import annotations

import pandas as pd
import pytest

import ecgnb
from ecgnb.core.errors import LabelError
from ecgnb.stages.split import _require_two_labels, patient_groups


def test_the_table_counts_classes_recordings_and_patients(finished_run) -> None:
    table = ecgnb.split(finished_run).set_index("class")
    records, parts = finished_run.records, finished_run.splits.parts
    for part, rows in parts.items():
        assert table.loc["recordings", part] == len(rows)
        chosen = records.iloc[rows]
        assert table.loc["patients", part] == chosen["patient_id"].nunique()
        for name in finished_run.classes:
            count = sum(name in label.split("|") for label in chosen["label"])
            assert table.loc[name, part] == count
    assert table.loc["recordings", "all"] == 80
    assert (table.loc["in two parts"] == 0).all()


def test_unknown_patients_are_groups_of_their_own() -> None:
    records = pd.DataFrame(
        {"record_id": ["a", "b", "c", "d"], "patient_id": ["7", "", "7", ""]}
    )
    assert patient_groups(records).tolist() == [0, 1, 0, 2]


def test_recordings_of_one_label_are_refused() -> None:
    _require_two_labels(pd.Series(["A", "B"]))
    with pytest.raises(LabelError, match="All 2 prepared recordings are labelled 'A'"):
        _require_two_labels(pd.Series(["A", "A"]))


def test_patients_of_two_data_sets_with_equal_ids_are_two_groups() -> None:
    records = pd.DataFrame(
        {
            "dataset": ["x", "y", "x", "x", "x", "x"],
            "record_id": ["a", "b", "c", "d", "e", "f"],
            "patient_id": ["7", "7", "7.0", "nan", "P1", "p1"],
        }
    )
    assert patient_groups(records).tolist() == [0, 1, 0, 2, 3, 3]
