"""Splits: made, written, read and refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_helpers import check_partition, table

from ecgnb.core.errors import ConfigError, SplitError
from ecgnb.data.config import SplitConfig
from ecgnb.data.splits.leakage import record_groups
from ecgnb.data.splits.splits import make_splits, read_splits, write_splits

cohorts = st.integers(3, 120).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 40), min_size=n, max_size=n),
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
        st.lists(st.integers(0, 200), min_size=n, max_size=n),
        st.integers(0, 5),
    )
)


@given(cohorts)
@settings(max_examples=40, deadline=None)
def test_no_cohort_has_a_patient_or_a_signal_in_two_parts(cohort):
    patients, targets, hashes, seed = cohort
    records = table(
        ["" if p < 5 else f"p{p}" for p in patients],
        [f"h{h}" for h in hashes],
        first_row=7,
    )
    config = SplitConfig(split_seed=seed)
    if len(set(record_groups(records))) < 3:
        with pytest.raises(SplitError, match="cannot be divided"):
            make_splits(records, np.array(targets), config)
    else:
        check_partition(records, make_splits(records, np.array(targets), config))


def test_one_seed_gives_the_same_splits():
    records = table([f"p{n // 2}" for n in range(200)])
    targets = np.arange(200) % 3
    first, again, other = (
        make_splits(records, targets, SplitConfig(split_seed=seed))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.test, again.test)
    assert set(first.test) != set(other.test)
    assert first.report == again.report


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
    for splits in runs:  # a fifth tests; of the rest, a tenth validates
        assert 57 <= len(splits.test) <= 66
        rest = 303 - len(splits.test)
        assert abs(len(splits.valid) - rest / 10) <= 6
        assert len(splits.train) >= 0.7 * 303
        assert set(targets[splits.valid]) == {0, 1, 2, 3}
    last = make_splits(records, targets, config)
    np.testing.assert_array_equal(last.test, runs[4].test)


def test_validation_within_the_folds_follows_its_fraction_and_keeps_patients_apart():
    records = table([f"p{n % 100}" for n in range(600)])
    targets = np.arange(600) % 2
    config = SplitConfig(split="kfold", n_folds=5, test_fold=2, valid_fraction=0.25)
    splits = make_splits(records, targets, config)
    check_partition(records, splits)
    assert [len(part) for part in splits.parts.values()] == [360, 120, 120]


def test_official_folds_take_the_last_two_present_and_warn():
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
