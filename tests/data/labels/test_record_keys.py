"""Names of recordings: what is equal, and what wins."""

from __future__ import annotations

import numpy as np
import pytest

from ecgnb.data.labels.record_keys import (
    clean,
    group,
    last_part,
    match,
    without_rate,
    without_zeros,
)


@pytest.mark.parametrize(
    ("name", "cleaned", "zeroless"),
    [
        ("00001", "00001", "1"),
        (" A0001.MAT ", "a0001", "a1"),
        (r"records500\00000\00001_HR.hea", "records500/00000/00001", "1"),
        ("./x/y_lr", "x/y", "y"),
        ("0", "0", "0"),
        ("000", "000", "0"),
        ("a10", "a10", "a10"),
        ("100-0003", "100-0003", "100-3"),
        ("data_101_6", "data_101_6", "data_101_6"),
        ("rec.1", "rec.1", "rec.1"),
        ("ulr", "ulr", "ulr"),
    ],
)
def test_forms_of_a_name(name, cleaned, zeroless):
    assert clean(name) == cleaned
    assert clean(clean(name)) == cleaned
    assert without_zeros(cleaned) == zeroless
    assert "/" not in last_part(cleaned)


def test_the_rate_is_no_part_of_an_id():
    ids = ["00001_lr", "00001_HR", "a/00001_hr", "00001", "A_lr.mat", "ulr", "x_mr"]
    assert {
        without_rate(f"x/records{fs}/1_{rate}")
        for fs, rate in ((100, "lr"), (500, "hr"))
    } == {"x/records/1"}
    assert [without_rate(name) for name in ids] == [
        "00001",
        "00001",
        "a/00001",
        "00001",
        "A_lr.mat",
        "ulr",
        "x_mr",
    ]


def test_groups():
    groups = group(["b", "a", "b", "c", "a"], np.array([1, 2, 1, 3, 4]))
    assert list(groups.keys) == ["b", "a", "c"]
    assert groups.of_row.tolist() == [0, 1, 0, 2, 1]
    assert groups.first.tolist() == [0, 1, 3]
    assert groups.agree.tolist() == [True, False, True]


def test_the_strictest_way_wins():
    ids, paths = ["x/7", "7", "007"], ["/d/x/7.hea", "/d/7.hea", "/e/007.hea"]
    found = match(ids, paths, ["007", "x/7", "7"], np.array([0, 1, 2]))
    assert found.row.tolist() == [1, 2, 0] and found.how.tolist() == ["name"] * 3
    found = match(ids, paths, ["d/x/7", "d/7"], np.array([0, 1]))
    assert found.row.tolist() == [0, 1, -1] and found.how.tolist() == [
        "path",
        "path",
        "",
    ]
    assert found.ambiguous.tolist() == [False, False, True]


def test_rows_that_mean_nothing_are_not_used():
    found = match(["a"], ["/d/a.hea"], ["b", "a", "c/a"], np.array([0, 1, 1]))
    assert found.row.tolist() == [1]
    assert found.used.tolist() == [False, True, False]
