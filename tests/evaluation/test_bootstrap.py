import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

import ecgnb.evaluation.bootstrap as module
from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.evaluation.bootstrap import (
    bootstrap,
    bootstrap_per_class,
    bootstrap_score,
    resample_counts,
)
from ecgnb.evaluation.metrics import compute_metrics
from ecgnb.evaluation.scorer import HEADLINE, Scorer


def predictions(seed, n, n_classes, levels, prevalence=0.3):
    """Scores with ``levels`` different values, so with few levels all are tied; a class
    may be absent."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, n_classes)) < prevalence).astype(int)
    return truth, rng.integers(0, levels, (n, n_classes)) / levels


def rows_of(counts):
    return [
        np.repeat(np.arange(len(counts)), column.astype(int)) for column in counts.T
    ]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(2, 60),
    n_classes=st.integers(1, 5),
    levels=st.sampled_from([2, 3, 10, 1000]),
    prevalence=st.sampled_from([0.03, 0.3, 0.9]),
)
def test_each_resample_equals_scikit_learn_on_the_drawn_rows(
    seed, n, n_classes, levels, prevalence
):
    y, p = predictions(seed, n, n_classes, levels, prevalence)
    scorer = Scorer(y, p, [str(k) for k in range(n_classes)], "multilabel")
    counts = next(resample_counts(n, 5, seed))
    ours = scorer.headline(counts)
    for number, rows in enumerate(rows_of(counts)):
        truth, scores = y[rows], p[rows]
        some = truth.any(axis=0)
        both = some & ~truth.all(axis=0)
        if both.any():
            expected = reference.roc_auc_score(
                truth[:, both], scores[:, both], average="macro"
            )
            assert ours["macro_auroc"][number] == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(ours["macro_auroc"][number])
        if some.any():
            expected = reference.average_precision_score(
                truth[:, some], scores[:, some], average="macro"
            )
            assert ours["macro_average_precision"][number] == pytest.approx(
                expected, abs=1e-12
            )
        else:
            assert np.isnan(ours["macro_average_precision"][number])


@pytest.mark.parametrize("seed", range(3))
def test_multilabel_numbers_of_a_resample_equal_those_of_the_drawn_rows(seed):
    y, p = predictions(seed, 80, 4, 50)
    names, limits = list("abcd"), [0.3, 0.5, 0.5, 0.7]
    counts = next(resample_counts(80, 6, seed))
    ours = Scorer(y, p, names, "multilabel", limits).headline(counts)
    for number, rows in enumerate(rows_of(counts)):
        expected = compute_metrics(y[rows], p[rows], names, "multilabel", limits)[
            "headline"
        ]
        for name, value in expected.items():
            assert ours[name][number] == pytest.approx(value, abs=1e-12), name
        decided = (p[rows] >= limits).astype(int)
        assert ours["exact_match"][number] == pytest.approx(
            reference.accuracy_score(y[rows], decided), abs=1e-12
        )


@pytest.mark.parametrize("seed", range(3))
def test_multiclass_numbers_of_a_resample_equal_those_of_the_drawn_rows(seed):
    rng = np.random.default_rng(seed)
    y = rng.choice(
        5, 60, p=[0.5, 0.3, 0.15, 0.04, 0.01]
    )  # the rare ones are missing from many resamples
    p = rng.dirichlet(np.ones(5), 60).round(2) + 0.01
    p /= p.sum(axis=1, keepdims=True)
    counts = next(resample_counts(60, 20, seed))
    ours = Scorer(y, p, list("abcde"), "multiclass").headline(counts)
    for number, rows in enumerate(rows_of(counts)):
        decided = p[rows].argmax(axis=1)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # scikit-learn warns of classes that are only called
            balanced = reference.balanced_accuracy_score(y[rows], decided)
        assert ours["balanced_accuracy"][number] == pytest.approx(balanced, abs=1e-12)
        f1 = reference.f1_score(y[rows], decided, average="macro", zero_division=np.nan)
        assert ours["macro_f1"][number] == pytest.approx(f1, abs=1e-12)
        expected = compute_metrics(y[rows], p[rows], list("abcde"), "multiclass")[
            "headline"
        ]
        for name, value in expected.items():
            assert ours[name][number] == pytest.approx(value, abs=1e-12), name


def test_table_has_every_headline_number_with_its_own_value():
    y, p = predictions(0, 200, 3, 1000)
    table = bootstrap(y, p, list("abc"), "multilabel", [0.4, 0.5, 0.6], n_resamples=200)
    assert list(table.columns) == [
        "metric",
        "value",
        "low",
        "high",
        "n_valid_resamples",
    ]
    assert tuple(table["metric"]) == HEADLINE["multilabel"]
    expected = compute_metrics(y, p, list("abc"), "multilabel", [0.4, 0.5, 0.6])[
        "headline"
    ]
    assert table["value"].tolist() == list(expected.values())
    assert (table["n_valid_resamples"] == 200).all()
    inside = (table["low"] <= table["value"]) & (table["value"] <= table["high"])
    biased = table["metric"].isin(
        ["ece", "f_max"]
    )  # a maximum and a sum of absolute values grow with noise
    assert (inside | biased).all()


def test_interval_of_accuracy_agrees_with_the_binomial_one():
    # 300 of 400 right: the standard error of the share is sqrt(0.75 * 0.25 / 400) =
    # 0.02165.
    y = np.zeros(400, dtype=int)
    p = np.where(np.arange(400)[:, None] < 300, [0.9, 0.1], [0.1, 0.9])
    table = bootstrap(y, p, ("a", "b"), "multiclass", n_resamples=4000).set_index(
        "metric"
    )
    low, high = table.loc["accuracy", ["low", "high"]]
    assert low == pytest.approx(0.75 - 1.96 * 0.02165, abs=0.004)
    assert high == pytest.approx(0.75 + 1.96 * 0.02165, abs=0.004)
    narrow = bootstrap(
        y, p, ("a", "b"), "multiclass", n_resamples=4000, confidence=0.5
    ).set_index("metric")
    assert narrow.loc["accuracy", "high"] == pytest.approx(
        0.75 + 0.6745 * 0.02165, abs=0.004
    )


def test_percentiles_are_those_of_the_resampled_numbers():
    table = bootstrap_score(
        lambda counts: {"first": counts[0]}, 5, n_resamples=333, confidence=0.8
    )
    drawn = np.concatenate([counts[0] for counts in resample_counts(5, 333, 0)])
    assert (
        table.loc[0, ["low", "high"]].tolist()
        == np.quantile(drawn, [0.1, 0.9]).tolist()
    )


def test_resamples_without_an_outcome_are_not_valid_for_auroc():
    # One positive among four: a resample misses it with probability (3/4)^4 = 0.316.
    y, p = (
        np.array([0, 0, 0, 1]),
        np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]),
    )
    table = bootstrap(y, p, ("a", "b"), "multiclass", n_resamples=1000).set_index(
        "metric"
    )
    assert 640 < table.loc["macro_auroc", "n_valid_resamples"] < 730
    assert table.loc["accuracy", "n_valid_resamples"] == 1000
    value, low, high = table.loc["macro_auroc", ["value", "low", "high"]]
    assert (value, high) == (1, 1)
    # Two classes of one positive and three negatives, or the reverse.
    assert low < 0.6


def test_a_number_that_no_resample_defines_has_no_interval():
    table = bootstrap(
        [0, 0], [[0.9, 0.1], [0.8, 0.2]], ("a", "b"), "multiclass", n_resamples=20
    ).set_index("metric")
    assert table.loc["macro_auroc"].isna().tolist() == [True, True, True, False]
    assert table.loc["macro_auroc", "n_valid_resamples"] == 0
    one = bootstrap(
        [1], [[0.2, 0.8]], ("a", "b"), "multiclass", n_resamples=20
    ).set_index("metric")
    # One record shows nothing of the variance: a share of 0.08 of one trial.
    value, low, high = one.loc["brier", ["value", "low", "high"]]
    assert value == pytest.approx(0.08)
    assert low < 0.02 and high > 0.8


def test_same_seed_same_intervals_and_blocks_change_nothing(monkeypatch):
    y, p = predictions(3, 50, 3, 1000)
    first = bootstrap(y, p, list("abc"), "multilabel", n_resamples=90, seed=7)
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 50 * 13)
    assert [block.shape for block in resample_counts(50, 30, 7)] == [
        (50, 13),
        (50, 13),
        (50, 4),
    ]
    pd.testing.assert_frame_equal(
        first, bootstrap(y, p, list("abc"), "multilabel", n_resamples=90, seed=7)
    )
    other = bootstrap(y, p, list("abc"), "multilabel", n_resamples=90, seed=8)
    assert not first["low"].equals(other["low"])
    assert first["value"].equals(other["value"])


def test_records_are_drawn_with_replacement_and_evenly():
    counts = np.concatenate(list(resample_counts(40, 3000, 0)), axis=1)
    assert (counts.sum(axis=0) == 40).all()
    assert counts.mean(axis=1) == pytest.approx(np.ones(40), abs=0.1)
    assert counts.var() == pytest.approx(1 - 1 / 40, abs=0.02)  # multinomial


def test_patients_are_drawn_whole():
    patients = np.array(["p1", "p1", "p2", "", "p1", ""])
    counts = next(resample_counts(6, 400, 0, patients))
    assert (counts[0] == counts[1]).all()
    assert (counts[0] == counts[4]).all()
    units = counts[
        [0, 2, 3, 5]
    ]  # p1, p2 and two records of unknown patients, each a patient of its own
    assert (units.sum(axis=0) == 4).all()
    assert units.std(axis=1).min() > 0
    missing = next(resample_counts(6, 400, 0, pd.Series(patients).replace("", None)))
    np.testing.assert_array_equal(counts, missing)


def test_drawing_patients_widens_the_interval_of_repeated_records():
    y, p = predictions(1, 40, 2, 1000)
    repeated, patients = (
        (np.tile(y, (10, 1)), np.tile(p, (10, 1))),
        np.tile(np.arange(40), 10),
    )
    width = {}
    for name, groups in (("records", None), ("patients", patients)):
        table = bootstrap(
            *repeated, ("a", "b"), "multilabel", n_resamples=400, groups=groups
        ).set_index("metric")
        width[name] = table.loc["brier", "high"] - table.loc["brier", "low"]
    # Ten copies of each record are no new knowledge: the honest interval is about
    # sqrt(10) times as wide.
    assert width["patients"] / width["records"] == pytest.approx(10**0.5, rel=0.15)


def test_per_class_intervals():
    y, p = predictions(5, 300, 3, 1000)
    y[:, 2] = 0
    table = bootstrap_per_class(
        y, p, list("abc"), "multilabel", n_resamples=100
    ).set_index(["class", "metric"])
    rows = {
        row["class"]: row
        for row in compute_metrics(y, p, list("abc"), "multilabel")["per_class"]
    }
    assert table.loc[("b", "auroc"), "value"] == rows["b"]["auroc"]
    assert table.loc[("a", "recall"), "value"] == rows["a"]["recall"]
    assert (
        table.loc[("a", "recall"), "low"]
        < rows["a"]["recall"]
        < table.loc[("a", "recall"), "high"]
    )
    assert np.isnan(table.loc[("c", "auroc"), "value"])
    assert table.loc[("c", "auroc"), "n_valid_resamples"] == 0
    assert len(table) == 24


def test_wrong_arguments_are_refused():
    y, p = predictions(0, 20, 2, 10)
    with pytest.raises(ConfigError, match="resamples is 0"):
        bootstrap(y, p, ("a", "b"), "multilabel", n_resamples=0)
    with pytest.raises(ConfigError, match="confidence is 95"):
        bootstrap(y, p, ("a", "b"), "multilabel", confidence=95)
    with pytest.raises(EcgnbError, match="19 groups for 20 records"):
        bootstrap(y, p, ("a", "b"), "multilabel", groups=np.arange(19))
