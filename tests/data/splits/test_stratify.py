"""Stratified assignment of patients: every class in proportion."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from split_helpers import check_partition, shares, table

from ecgnb.data.config import SplitConfig
from ecgnb.data.loading.sampler import class_counts
from ecgnb.data.splits.splits import make_splits


@given(st.integers(0, 1000), st.integers(1, 6), st.floats(0.05, 0.6))
@settings(max_examples=20, deadline=None)
def test_every_class_is_divided_80_10_10_when_there_are_enough_patients(
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
@settings(max_examples=12, deadline=None)
def test_every_label_of_a_multilabel_cohort_is_divided(seed):
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
    fractions = shares(counts, records, splits)
    tolerance = 4 / counts.sum(axis=0) + 0.03
    assert (np.abs(fractions - [[0.8], [0.1], [0.1]]) <= tolerance).all()


def test_large_patients_are_not_all_given_to_training():
    patients = np.concatenate([np.repeat(np.arange(100), 10), np.arange(100, 1100)])
    splits = make_splits(
        table([f"p{p}" for p in patients]), np.zeros(2000, int), SplitConfig()
    )
    large = [int((rows < 1000).sum()) for rows in splits.parts.values()]
    assert large == [800, 100, 100]


def test_three_patients_make_three_parts():
    splits = make_splits(
        table(["a"] * 50 + ["b"] + ["c"]), np.zeros(52, int), SplitConfig()
    )
    assert sorted(len(rows) for rows in splits.parts.values()) == [1, 1, 50]
