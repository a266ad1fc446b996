"""Report of splits: counts and warnings."""

from __future__ import annotations

import numpy as np
import pytest
from split_helpers import table

from ecgnb.data.config import SplitConfig
from ecgnb.data.splits.splits import make_splits


@pytest.mark.parametrize(
    ("n_unknown", "how_many"),
    [(0, None), (7, "for 7 of 100 recordings: "), (100, "for all 100 recordings: ")],
)
def test_the_report_warns_of_unknown_patients(n_unknown, how_many):
    records = table([""] * n_unknown + [f"p{n}" for n in range(n_unknown, 100)])
    report = make_splits(records, np.arange(100) % 2, SplitConfig()).report
    assert report["unknown_patients"] == n_unknown
    warning = f"The patient is unknown {how_many}leakage between recordings of one patient cannot be excluded there."
    assert report["warnings"] == ([warning] if how_many else [])


def test_a_class_of_three_patients_is_in_every_part_and_of_two_is_warned_of():
    targets = np.array([0] * 94 + [1] * 3 + [2] * 2 + [3])
    splits = make_splits(
        table([""] * 100), targets, SplitConfig(), classes=("A", "B", "C", "D")
    )
    assert [
        splits.report["classes"][part]["B"] for part in ("train", "valid", "test")
    ] == [1, 1, 1]
    warnings = " ".join(splits.report["warnings"])
    assert "Class C has only 2 patients" in warnings
    assert "Class D has only 1 patients" in warnings
    assert "Class D is missing in valid and test" in warnings
    assert "Class B" not in warnings
    assert splits.report["classes"]["train"]["D"] == 1


def test_the_report_counts_records_patients_and_classes():
    records = table([f"p{n // 4}" for n in range(400)])
    splits = make_splits(
        records, np.arange(400) // 4 % 2, SplitConfig(), classes=("NORM", "AF")
    )
    report = splits.report
    assert report["records"] == {"train": 320, "valid": 40, "test": 40}
    assert report["groups"] == {"train": 80, "valid": 10, "test": 10}
    assert report["classes"]["test"] == {"NORM": 20, "AF": 20, "(none)": 0}
    assert report["warnings"] == report["leakage"] == []
    assert report["config"]["split"] == "stratified"


def test_leaking_official_folds_are_reported():
    records = table(
        ["a", "a", "b", "c", "d", "e"],
        ["1", "2", "3", "4", "4", "5"],
        folds=[1, 2, 3, 1, 3, 2],
    )
    splits = make_splits(
        records, np.zeros(6, int), SplitConfig(split="official", n_folds=3)
    )
    assert splits.report["leakage"] == [
        {
            "kind": "patient",
            "key": "test:a",
            "parts": "train|valid",
            "records": "00000|00001",
        },
        {"kind": "signal", "key": "4", "parts": "train|test", "records": "00003|00004"},
    ]
    assert any(
        "2 patients, signals, twins or copies" in warning and "stratified" in warning
        for warning in splits.report["warnings"]
    )


def test_a_class_without_any_record_is_warned_of():
    records = table([f"p{n}" for n in range(60)])
    targets = np.zeros((60, 4))
    targets[::2, 0] = 1
    targets[1::2, 2] = 1
    names = ("A", "B", "C", "D")
    warnings = make_splits(records, targets, SplitConfig(), classes=names).report[
        "warnings"
    ]
    assert [line for line in warnings if "No recording has the label B, D" in line]


def test_a_class_that_is_not_trained_is_warned_of():
    records = table([""] * 9, folds=[1, 1, 1, 2, 2, 2, 3, 3, 3])
    targets = np.array([0, 1, 0, 0, 1, 0, 0, 1, 2])
    splits = make_splits(
        records, targets, SplitConfig(split="official"), classes=("A", "B", "C")
    )
    warnings = " ".join(splits.report["warnings"])
    assert (
        "Class C is missing in train and valid. Its output learns nothing." in warnings
    )


def test_a_patient_with_most_of_the_records_is_probably_a_word_for_unknown():
    records = table(["0"] * 30 + [f"p{n}" for n in range(20)])
    warnings = make_splits(records, np.arange(50) % 2, SplitConfig()).report["warnings"]
    assert len(warnings) == 1
    assert "60% of the recordings are of the patient 'test:0'" in warnings[0]
