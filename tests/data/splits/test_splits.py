from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgnb.core.errors import ConfigError, SplitError
from ecgnb.data.config import SplitConfig
from ecgnb.data.splits.splits import (
    Splits,
    find_leakage,
    make_splits,
    read_splits,
    record_groups,
    write_splits,
)
from ecgnb.data.splits.stratify import class_counts


def table(patients, hashes=None, folds=None, first_row: int = 0) -> pd.DataFrame:
    """Records of a store with these patients ("" unknown), signal hashes and official
    folds."""
    n = len(patients)
    return pd.DataFrame(
        {
            "row": np.arange(first_row, first_row + n),
            "dataset": "test",
            "record_id": [f"{number:05d}" for number in range(n)],
            "patient_id": list(patients),
            "fold": pd.array(
                [None] * n if folds is None else list(folds), dtype="Int64"
            ),
            "signal_hash": [f"h{number}" for number in range(n)]
            if hashes is None
            else list(hashes),
        }
    )


def check_partition(records: pd.DataFrame, splits: Splits) -> None:
    together = np.concatenate([splits.train, splits.valid, splits.test])
    assert sorted(together.tolist()) == records["row"].tolist()
    for rows in splits.parts.values():
        assert rows.dtype == np.int64
        assert len(rows) > 0
        assert (np.diff(rows) > 0).all()
    assert find_leakage(records, splits).empty


def shares(counts: np.ndarray, records: pd.DataFrame, splits: Splits) -> np.ndarray:
    """Part of each class in train, valid and test: [3, n_classes]."""
    first = int(records["row"].iloc[0])
    totals = np.maximum(counts.sum(axis=0), 1)
    return np.stack(
        [counts[rows - first].sum(axis=0) / totals for rows in splits.parts.values()]
    )


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


def test_twins_are_not_parted_and_found_where_they_are():
    ids = [f"{number:05d}_{rate}" for rate in ("lr", "hr") for number in range(100)]
    records = table([""] * 200).assign(record_id=ids)
    splits = make_splits(records, np.arange(200) % 100 % 3, SplitConfig())
    np.testing.assert_allclose(
        [len(rows) for rows in splits.parts.values()], [160, 20, 20], atol=3
    )
    for rows in splits.parts.values():
        assert (rows[rows < 100] + 100).tolist() == rows[rows >= 100].tolist()
    torn = Splits(np.arange(100), np.array([], dtype=np.int64), np.array([103]))
    assert find_leakage(records, torn).values.tolist() == [
        ["twin", "test:00003", "train|test", "00003_lr|00003_hr"]
    ]


@pytest.mark.parametrize(
    ("n_unknown", "said"),
    [(0, None), (7, "for 7 of 100 recordings: "), (100, "for all 100 recordings: ")],
)
def test_the_report_tells_of_how_many_the_patient_is_unknown(n_unknown, said):
    records = table([""] * n_unknown + [f"p{n}" for n in range(n_unknown, 100)])
    report = make_splits(records, np.arange(100) % 2, SplitConfig()).report
    assert report["unknown_patients"] == n_unknown
    told = f"The patient is unknown {said}leakage between recordings of one patient cannot be excluded there."
    assert report["warnings"] == ([told] if said else [])


cohorts = st.integers(3, 120).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 40), min_size=n, max_size=n),
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
        st.lists(st.integers(0, 200), min_size=n, max_size=n),
        st.integers(0, 5),
    )
)


@given(cohorts)
@settings(max_examples=80, deadline=None)
def test_any_cohort_is_parted_without_tearing_a_patient_or_a_signal(cohort):
    patients, targets, hashes, seed = cohort
    records = table(
        ["" if p < 5 else f"p{p}" for p in patients],
        [f"h{h}" for h in hashes],
        first_row=7,
    )
    config = SplitConfig(split_seed=seed)
    if len(set(record_groups(records))) < 3:
        with pytest.raises(SplitError, match="cannot be parted"):
            make_splits(records, np.array(targets), config)
    else:
        check_partition(records, make_splits(records, np.array(targets), config))


@given(st.integers(0, 1000), st.integers(1, 6), st.floats(0.05, 0.6))
@settings(max_examples=40, deadline=None)
def test_every_class_is_shared_80_10_10_when_there_are_enough_patients(
    seed, max_records, rarity
):
    generator = np.random.default_rng(seed)
    patients = np.repeat(np.arange(600), generator.integers(1, max_records + 1, 600))
    chances = np.array([1, 0.7, rarity, rarity / 2])
    targets = generator.choice(4, size=len(patients), p=chances / chances.sum())
    records = table([f"p{p}" for p in patients])
    splits = make_splits(records, targets, SplitConfig(split_seed=seed))
    check_partition(records, splits)
    counts = class_counts(targets)[:, :4]
    # A patient's few records come together, so a class may be off by about one patient.
    tolerance = (max_records + 1) / counts.sum(axis=0) + 0.01
    assert (
        np.abs(shares(counts, records, splits) - [[0.8], [0.1], [0.1]]) <= tolerance
    ).all()


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_every_label_of_a_multilabel_cohort_is_shared_out(seed):
    generator = np.random.default_rng(seed)
    patients = np.repeat(np.arange(800), generator.integers(1, 4, 800))
    targets = (
        generator.random((len(patients), 5)) < [0.4, 0.2, 0.1, 0.05, 0.03]
    ).astype(np.float32)
    records = table([f"p{p}" for p in patients])
    splits = make_splits(records, targets, SplitConfig(split_seed=seed))
    check_partition(records, splits)
    counts = class_counts(targets)
    assert (counts[:, 5] == ~targets.any(axis=1)).all()
    found = shares(counts, records, splits)
    tolerance = 4 / counts.sum(axis=0) + 0.03
    assert (np.abs(found - [[0.8], [0.1], [0.1]]) <= tolerance).all()


def test_large_patients_are_not_all_given_to_training():
    patients = np.concatenate([np.repeat(np.arange(100), 10), np.arange(100, 1100)])
    splits = make_splits(
        table([f"p{p}" for p in patients]), np.zeros(2000, int), SplitConfig()
    )
    large = [int((rows < 1000).sum()) for rows in splits.parts.values()]
    assert large == [800, 100, 100]


def test_one_seed_gives_one_division():
    records = table([f"p{n // 2}" for n in range(200)])
    targets = np.arange(200) % 3
    first, again, other = (
        make_splits(records, targets, SplitConfig(split_seed=seed))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.test, again.test)
    assert set(first.test) != set(other.test)
    assert first.report == again.report


def test_a_class_of_three_patients_is_in_every_part_and_of_two_is_told():
    targets = np.array([0] * 94 + [1] * 3 + [2] * 2 + [3])
    splits = make_splits(
        table([""] * 100), targets, SplitConfig(), classes=("A", "B", "C", "D")
    )
    assert [
        splits.report["classes"][part]["B"] for part in ("train", "valid", "test")
    ] == [1, 1, 1]
    warnings = " ".join(splits.report["warnings"])
    assert "Class C has 2 patients only" in warnings
    assert "Class D has 1 patients only" in warnings
    assert "Class D is missing in valid and test" in warnings
    assert "Class B" not in warnings
    assert splits.report["classes"]["train"]["D"] == 1


def test_three_patients_make_three_parts():
    splits = make_splits(
        table(["a"] * 50 + ["b"] + ["c"]), np.zeros(52, int), SplitConfig()
    )
    assert sorted(len(rows) for rows in splits.parts.values()) == [1, 1, 50]


def test_the_report_counts_what_is_there():
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


def test_folds_of_a_cross_validation_cover_everything_once():
    records = table([f"p{n // 3}" for n in range(303)])
    targets = np.arange(303) // 3 % 4
    config = SplitConfig(split="kfold", n_folds=5)
    runs = [
        make_splits(records, targets, dataclasses.replace(config, test_fold=fold))
        for fold in range(5)
    ]
    for splits in runs:
        check_partition(records, splits)
    assert sorted(np.concatenate([splits.test for splits in runs]).tolist()) == list(
        range(303)
    )
    for fold in range(5):  # the next fold validates
        np.testing.assert_array_equal(runs[fold].valid, runs[(fold + 1) % 5].test)
        assert 57 <= len(runs[fold].test) <= 66
    last = make_splits(records, targets, config)
    np.testing.assert_array_equal(last.test, runs[4].test)


def test_official_folds_take_the_last_two_present_and_say_so():
    folds = np.tile(np.arange(1, 9), 10)
    splits = make_splits(
        table([""] * 80, folds=folds), np.arange(80) % 2, SplitConfig(split="official")
    )
    assert (folds[splits.test] == 8).all()
    assert (folds[splits.valid] == 7).all()
    assert len(splits.train) == 60
    assert "8 is the test, 7 validates" in splits.report["warnings"][0]
    assert "no records of folds 9, 10" in splits.report["warnings"][1]


def test_official_folds_as_published():
    folds = np.tile(np.arange(1, 11), 10)
    records = table([f"p{n}" for n in range(100)], folds=folds)
    splits = make_splits(records, np.zeros(100, int), SplitConfig(split="official"))
    assert (folds[splits.test] == 10).all()
    assert (folds[splits.valid] == 9).all()
    assert len(splits.report["warnings"]) == 1
    chosen = make_splits(
        records, np.zeros(100, int), SplitConfig(split="official", test_fold=1)
    )
    assert (folds[chosen.test] == 1).all()
    assert (folds[chosen.valid] == 10).all()
    with pytest.raises(SplitError, match="TEST_FOLD is 11"):
        make_splits(
            records, np.zeros(100, int), SplitConfig(split="official", test_fold=11)
        )


def test_records_without_an_official_fold_train():
    records = table([""] * 10, folds=[1, 2, 3, 1, 2, 3, None, None, 1, 2])
    splits = make_splits(
        records, np.zeros(10, int), SplitConfig(split="official", n_folds=3)
    )
    assert splits.train.tolist() == [0, 3, 6, 7, 8]
    assert any(
        "2 records have no official fold" in warning
        for warning in splits.report["warnings"]
    )


def test_too_few_official_folds_are_refused():
    with pytest.raises(SplitError, match=r"0 official folds \[\].*'stratified'"):
        make_splits(table([""] * 9), np.zeros(9, int), SplitConfig(split="official"))


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
        "2 patients, signals or twins" in warning and "stratified" in warning
        for warning in splits.report["warnings"]
    )


def test_leakage_is_seen_in_any_division():
    records = table(["a", "b", "b", ""], ["1", "2", "3", "1"])
    leaking = Splits(np.array([0, 1]), np.array([2]), np.array([3]))
    found = find_leakage(records, leaking)
    assert found[["kind", "parts"]].values.tolist() == [
        ["patient", "train|valid"],
        ["signal", "train|test"],
    ]


def test_lengths_must_agree():
    with pytest.raises(SplitError, match="4 records but 3 targets"):
        make_splits(table([""] * 4), np.zeros(3, int), SplitConfig())


def test_too_few_patients_are_refused():
    with pytest.raises(SplitError, match="20 records of 2 patients"):
        make_splits(table(["a"] * 10 + ["b"] * 10), np.zeros(20, int), SplitConfig())
    with pytest.raises(SplitError, match="fewer folds"):
        make_splits(table([""] * 9), np.zeros(9, int), SplitConfig(split="kfold"))


@pytest.mark.parametrize(
    "changes",
    [
        {"split": "random"},
        {"valid_fraction": 0.0},
        {"test_fraction": -0.1},
        {"valid_fraction": 0.5, "test_fraction": 0.5},
        {"n_folds": 2},
        {"split": "kfold", "test_fold": 10},
    ],
)
def test_impossible_configurations_are_refused(changes):
    with pytest.raises(
        ConfigError,
        match=next(iter(changes)).upper()
        if "test_fold" not in changes
        else "TEST_FOLD",
    ):
        SplitConfig(**changes)


@pytest.fixture
def saved(tmp_path):
    records = table([f"p{n // 2}" for n in range(60)])
    splits = make_splits(
        records, np.arange(60) % 2, SplitConfig(), classes=("NORM", "AF")
    )
    write_splits(tmp_path / "splits.json", splits, records, fingerprint="abc")
    return tmp_path / "splits.json", splits, records


def test_splits_come_back_as_they_were(saved):
    path, splits, records = saved
    again = read_splits(path, records, fingerprint="abc")
    for name, rows in splits.parts.items():
        np.testing.assert_array_equal(again.parts[name], rows)
        assert again.parts[name].dtype == np.int64
    assert again.report == splits.report
    on_disk = json.loads(path.read_text(encoding="utf-8"))
    assert on_disk["parts"]["test"]["record_ids"] == [
        f"{row:05d}" for row in splits.test
    ]


def test_splits_of_another_store_are_refused(saved):
    path, _, records = saved
    with pytest.raises(SplitError, match="belongs to store 'abc', not 'xyz'"):
        read_splits(path, records, fingerprint="xyz")
    with pytest.raises(SplitError, match="they do not belong together"):
        read_splits(
            path, records.assign(record_id=records["record_id"].to_numpy()[::-1])
        )
    with pytest.raises(SplitError, match="they do not belong together"):
        read_splits(path, records.head(10))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"parts": {"train": {}}}'])
def test_a_damaged_file_is_refused(saved, text):
    saved[0].write_text(text, encoding="utf-8")
    with pytest.raises(SplitError, match="Make the splits again"):
        read_splits(saved[0])


def test_a_row_in_two_parts_is_refused(saved):
    content = json.loads(saved[0].read_text(encoding="utf-8"))
    content["parts"]["test"]["rows"][0] = content["parts"]["train"]["rows"][0]
    saved[0].write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(SplitError, match="names a row twice"):
        read_splits(saved[0])
