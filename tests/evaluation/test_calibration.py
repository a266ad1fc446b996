import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from scipy.stats import binomtest
from sklearn import metrics as reference

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.evaluation.arrays import check_inputs
from ecgnb.evaluation.calibration import (
    TEMPERATURE_RANGE,
    apply_temperature,
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
    fit_temperature,
    probabilities_from_logits,
    reliability_table,
    wilson_interval,
)


def negative_log_likelihood(logits, targets, task, temperature):
    scaled = np.asarray(logits) / temperature
    if task == "multiclass":
        return -log_softmax(scaled, axis=1)[np.arange(len(targets)), targets].mean()
    return (np.logaddexp(0, scaled) - targets * scaled).mean()


def drawn(seed, task, true_temperature, n=4000, n_classes=4):
    """Logits that are ``true_temperature`` times too large for the targets drawn from
    them."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, n_classes))
    if task == "multiclass":
        targets = np.array(
            [rng.choice(n_classes, p=row) for row in softmax(logits, axis=1)]
        )
    else:
        targets = (rng.random((n, n_classes)) < expit(logits)).astype(int)
    return logits * true_temperature, targets


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 3.0])
def test_temperature_is_found_and_is_the_minimum(task, true_temperature):
    logits, targets = drawn(0, task, true_temperature)
    found = fit_temperature(logits, targets, task)
    assert found == pytest.approx(true_temperature, rel=0.06)
    best = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits, targets, task, np.exp(log_t)),
        bounds=np.log(TEMPERATURE_RANGE),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert found == pytest.approx(np.exp(best.x), rel=1e-5)
    before = expected_calibration_error(
        targets, probabilities_from_logits(logits, task), task
    )
    after = expected_calibration_error(
        targets, probabilities_from_logits(apply_temperature(logits, found), task), task
    )
    assert after < 0.03
    assert after <= before + 0.002


def test_temperature_of_a_hand_worked_case():
    # Logit difference 2 and right three times of four: softmax(2 / T) = 3/4, so T = 2 /
    # log(3).
    logits, targets = np.tile([2.0, 0.0], (4, 1)), np.array([0, 0, 0, 1])
    assert fit_temperature(logits, targets, "multiclass") == pytest.approx(
        2 / np.log(3), rel=1e-10
    )
    assert fit_temperature(logits + 1e6, targets, "multiclass") == pytest.approx(
        2 / np.log(3), rel=1e-6
    )
    one = np.array([[1], [1], [1], [0]])
    assert fit_temperature(np.full((4, 1), 2.0), one, "multilabel") == pytest.approx(
        2 / np.log(3), rel=1e-10
    )


def test_temperature_stays_in_its_range():
    separable = np.array([[5.0, 0.0], [0.0, 5.0]])
    assert fit_temperature(separable, [0, 1], "multiclass") == TEMPERATURE_RANGE[0]
    assert fit_temperature(separable, [1, 0], "multiclass") == TEMPERATURE_RANGE[1]
    assert fit_temperature(np.zeros((3, 2)), [0, 1, 1], "multiclass") == 1.0


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_temperature_changes_no_order_of_classes(seed, temperature):
    logits = np.random.default_rng(seed).normal(size=(20, 5))
    scaled = probabilities_from_logits(
        apply_temperature(logits, temperature), "multiclass"
    )
    np.testing.assert_array_equal(scaled.argmax(axis=1), logits.argmax(axis=1))


def test_probabilities_from_logits_equal_scipy_and_do_not_overflow():
    logits = np.random.default_rng(0).normal(scale=30, size=(50, 6))
    np.testing.assert_allclose(
        probabilities_from_logits(logits, "multiclass"),
        softmax(logits, axis=1),
        atol=1e-15,
    )
    np.testing.assert_allclose(
        probabilities_from_logits(logits, "multilabel"), expit(logits), atol=1e-15
    )
    extreme = [[-1e4, 0.0, 1e4]]
    with np.errstate(all="raise", under="ignore"):
        assert probabilities_from_logits(extreme, "multiclass").tolist() == [[0, 0, 1]]
        assert probabilities_from_logits(extreme, "multilabel").tolist() == [
            [0, 0.5, 1]
        ]
    with pytest.raises(EcgnbError, match="logits of 1 of 1 records"):
        probabilities_from_logits([[np.nan, 0]], "multiclass")


def test_brier_score_equals_scikit_learn_and_hand_work():
    rng = np.random.default_rng(0)
    p, y = rng.dirichlet(np.ones(3), 100), rng.integers(0, 3, 100)
    assert brier_score(y, p, "multiclass") == pytest.approx(
        ((p - np.eye(3)[y]) ** 2).sum(axis=1).mean(), abs=1e-12
    )
    q, z = rng.random((100, 1)), rng.integers(0, 2, (100, 1))
    assert brier_score(z, q, "multilabel") == pytest.approx(
        reference.brier_score_loss(z[:, 0], q[:, 0]), abs=1e-12
    )
    # (0.2^2 + 0.2^2 + 0.6^2 + 0.6^2) / 2 records
    assert brier_score([0, 1], [[0.8, 0.2], [0.6, 0.4]], "multiclass") == pytest.approx(
        0.4
    )
    assert brier_score(
        [[1, 0], [0, 1]], [[0.8, 0.2], [0.6, 0.4]], "multilabel"
    ) == pytest.approx(0.2)


def ece_slowly(confidence, hit, n_bins):
    total = 0.0
    for k in range(n_bins):
        inside = (confidence > k / n_bins) & (confidence <= (k + 1) / n_bins)
        if k == 0:
            inside |= confidence == 0
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - hit[inside].mean())
    return total


@pytest.mark.parametrize("n_bins", [1, 10, 15])
def test_calibration_error_equals_its_definition(n_bins):
    rng = np.random.default_rng(n_bins)
    p, y = rng.dirichlet(np.ones(4), 300), rng.integers(0, 4, 300)
    expected = ece_slowly(p.max(axis=1), p.argmax(axis=1) == y, n_bins)
    assert expected_calibration_error(y, p, "multiclass", n_bins) == pytest.approx(
        expected, abs=1e-12
    )
    per_class = [ece_slowly(p[:, k], y == k, n_bins) for k in range(4)]
    inputs = check_inputs(y, p, None, "multiclass")
    assert classwise_calibration_error(inputs, n_bins) == pytest.approx(
        per_class, abs=1e-12
    )
    onehot = np.eye(4)[y]
    assert expected_calibration_error(onehot, p, "multilabel", n_bins) == pytest.approx(
        np.mean(per_class), abs=1e-12
    )


def test_calibration_error_of_a_hand_worked_case():
    # Two records at 0.8 with one right, two at 0.6 with both right: 1/2 * 0.3 + 1/2 *
    # 0.4.
    p = [[0.8, 0.2], [0.8, 0.2], [0.6, 0.4], [0.6, 0.4]]
    assert expected_calibration_error([0, 1, 0, 0], p, "multiclass") == pytest.approx(
        0.35
    )
    # With one bin the two errors cancel in part: |0.7 - 0.75|.
    assert expected_calibration_error(
        [0, 1, 0, 0], p, "multiclass", n_bins=1
    ) == pytest.approx(0.05)


def test_a_value_on_an_edge_belongs_to_the_bin_below():
    table = reliability_table(
        [[1], [0], [1], [0]], [[0.0], [0.2], [0.2000001], [1.0]], "multilabel", n_bins=5
    )
    assert table["count"].tolist() == [2, 1, 0, 0, 1]
    assert table["upper"].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_reliability_table_of_equal_widths():
    rng = np.random.default_rng(1)
    p, y = rng.dirichlet(np.ones(3), 500), rng.integers(0, 3, 500)
    table = reliability_table(y, p, "multiclass")
    assert len(table) == 15
    assert table["count"].sum() == 500
    assert (
        table.loc[table["count"] == 0, ["confidence", "observed", "low", "high"]]
        .isna()
        .all(axis=None)
    )
    filled = table[table["count"] > 0]
    gap = (
        (filled["confidence"] - filled["observed"]).abs() * filled["count"]
    ).sum() / 500
    assert gap == pytest.approx(
        expected_calibration_error(y, p, "multiclass"), abs=1e-12
    )
    assert (
        (filled["low"] <= filled["observed"]) & (filled["observed"] <= filled["high"])
    ).all()


@pytest.mark.parametrize(
    ("hits", "count"), [(0, 10), (3, 10), (10, 10), (1, 1), (700, 1000)]
)
def test_wilson_interval_equals_scipy(hits, count):
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    low, high = wilson_interval(hits, count)
    assert (low, high) == (
        pytest.approx(expected.low, abs=1e-12),
        pytest.approx(expected.high, abs=1e-12),
    )


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="temperature is 0"):
        apply_temperature([[1.0, 2.0]], 0)
    with pytest.raises(EcgnbError, match=r"\(2,\)"):
        fit_temperature(np.zeros((3, 2)), [0, 1], "multiclass")
    with pytest.raises(EcgnbError, match="bins is 0"):
        expected_calibration_error([0], [[0.5, 0.5]], "multiclass", n_bins=0)
