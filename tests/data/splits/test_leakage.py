"""Leakage: groups of records, and leaks between parts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from split_helpers import table

from ecgnb.data.config import SplitConfig
from ecgnb.data.splits.leakage import find_leakage, record_groups
from ecgnb.data.splits.splits import Splits, make_splits


def test_records_are_tied_by_patient_and_signal_and_through_others():
    records = table(
        ["a", "b", "", "", "b", "c", "", "d"],
        ["1", "2", "3", "4", "5", "2", "3", "6"],
    )  # b ties 1 and 4, signal 2 ties 1 and 5 (so patient c too), signal 3 ties 2 and 6
    assert record_groups(records).tolist() == [0, 1, 2, 3, 1, 1, 2, 4]


def test_equal_patient_numbers_of_two_data_sets_are_two_patients():
    records = table(["1", "1", "1"]).assign(dataset=["x", "y", "x"])
    assert record_groups(records).tolist() == [0, 1, 0]


def test_missing_patients_tie_nothing():
    records = table(["", "", ""])
    records["patient_id"] = pd.array([None, "", None], dtype="string")
    assert record_groups(records).tolist() == [0, 1, 2]
    assert record_groups(records.head(0)).tolist() == []


def test_the_two_rates_of_a_recording_are_tied_within_a_data_set():
    records = table([""] * 7).assign(
        record_id=["1_lr", "2_lr", "1_hr", "1", "12_hr", "2_HR", "2_hr"],
        dataset=["x"] * 6 + ["y"],
    )
    assert record_groups(records).tolist() == [0, 1, 0, 0, 2, 1, 3]


def test_twins_stay_in_one_part_and_are_found_in_two():
    ids = [f"{number:05d}_{rate}" for rate in ("lr", "hr") for number in range(100)]
    records = table([""] * 200).assign(record_id=ids)
    splits = make_splits(records, np.arange(200) % 100 % 3, SplitConfig())
    np.testing.assert_allclose(
        [len(rows) for rows in splits.parts.values()], [160, 20, 20], atol=3
    )
    for rows in splits.parts.values():
        assert (rows[rows < 100] + 100).tolist() == rows[rows >= 100].tolist()
    torn = Splits(np.arange(100), np.array([], dtype=np.int64), np.array([103]))
    assert find_leakage(records, torn.parts).values.tolist() == [
        ["twin", "test:00003", "train|test", "00003_lr|00003_hr"]
    ]


def test_leakage_is_found_in_any_splits():
    records = table(["a", "b", "b", ""], ["1", "2", "3", "1"])
    leaking = Splits(np.array([0, 1]), np.array([2]), np.array([3]))
    leaks = find_leakage(records, leaking.parts)
    assert leaks[["kind", "parts"]].values.tolist() == [
        ["patient", "train|valid"],
        ["signal", "train|test"],
    ]


def test_spellings_of_one_patient_are_one_and_missing_words_are_none():
    records = table(["100", "100.0", "NA", "nan", "None", "P1", "p1", "unknown"])
    assert record_groups(records).tolist() == [0, 0, 1, 2, 3, 4, 4, 5]
    parts = {"train": np.array([0, 2, 3]), "test": np.array([1, 4])}
    leaks = find_leakage(records, parts)
    assert leaks[["kind", "key"]].values.tolist() == [["patient", "test:100"]]
