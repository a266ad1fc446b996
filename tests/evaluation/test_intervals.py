import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from ecgnb.evaluation.bootstrap import bootstrap, bootstrap_per_class
from ecgnb.evaluation.intervals import (
    auroc_interval,
    effective_size,
    f1_interval,
    mean_interval,
    wilson_interval,
)


def perfect(n_positive, n_negative):
    """Targets of one class and probabilities that separate it perfectly."""
    targets = np.repeat([1, 0], [n_positive, n_negative])[:, None]
    noise = np.random.default_rng(0).uniform(0, 0.3, targets.shape)
    return targets, 0.65 * targets + noise


def test_no_interval_of_perfect_predictions_has_zero_width():
    targets, probabilities = perfect(3, 57)
    options = {"n_resamples": 50}
    inputs = (targets, probabilities, ["AF"], "multilabel")
    headline = bootstrap(*inputs, **options)
    per_class = bootstrap_per_class(*inputs, **options)
    for table in (headline, per_class):
        assert (table["high"] - table["low"] > 1e-3).all()
    rows = per_class.set_index("metric")
    for metric, hits in {"recall": 3, "precision": 3, "specificity": 57}.items():
        expected = binomtest(hits, hits).proportion_ci(method="wilson")
        assert rows.loc[metric, "low"] == pytest.approx(expected.low)
        assert rows.loc[metric, "high"] == 1
    assert rows.loc["auroc", "low"] == pytest.approx(auroc_interval(1.0, 3, 57)[0])


def test_shares_of_independent_records_equal_scipy():
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 2, (90, 2))
    probabilities = np.clip(
        0.5 + 0.3 * (targets - 0.5) + rng.normal(0, 0.2, (90, 2)), 0, 1
    )
    decided = probabilities >= 0.5
    table = bootstrap_per_class(
        targets, probabilities, ["a", "b"], "multilabel", n_resamples=20, confidence=0.9
    ).set_index(["class", "metric"])
    for k, name in enumerate("ab"):
        y, d = targets[:, k] == 1, decided[:, k]
        counts = {
            "recall": ((y & d).sum(), y.sum()),
            "specificity": ((~y & ~d).sum(), (~y).sum()),
            "precision": ((y & d).sum(), d.sum()),
        }
        for metric, (hits, count) in counts.items():
            expected = binomtest(int(hits), int(count)).proportion_ci(0.9, "wilson")
            row = table.loc[(name, metric)]
            assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
    exact = bootstrap(
        targets, probabilities, ["a", "b"], "multilabel", n_resamples=20
    ).set_index("metric")
    right = int((decided == targets).all(axis=1).sum())
    expected = binomtest(right, 90).proportion_ci(method="wilson")
    row = exact.loc["exact_match"]
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(
    ("area", "m", "n"), [(1.0, 3, 300), (0.8, 10, 40), (0.0, 5, 5)]
)
def test_the_ends_of_an_auroc_interval_solve_newcombes_equation(area, m, n):
    def distance(end):
        q = (1 - end) / (2 - end) + end / (1 + end)
        variance = end * (1 - end) * (1 + ((m + n) / 2 - 1) * q) / (m * n)
        return (end - area) ** 2 - norm.ppf(0.975) ** 2 * variance

    low, high = auroc_interval(area, m, n)
    if area > 0:
        assert low == pytest.approx(brentq(distance, 1e-12, area - 1e-9), abs=1e-9)
    if area < 1:
        assert high == pytest.approx(brentq(distance, area + 1e-9, 1 - 1e-12), abs=1e-9)
    assert low <= area <= high


@pytest.mark.parametrize("true_area", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n_positive", [3, 10])
def test_auroc_intervals_cover_the_true_area(true_area, n_positive):
    rng = np.random.default_rng(n_positive)
    n_negative, n_repeats = 60, 1500
    shift = np.sqrt(2) * norm.ppf(true_area)  # of unit normals
    positives = rng.normal(size=(n_repeats, n_positive)) + shift
    negatives = np.sort(rng.normal(size=(n_repeats, n_negative)))
    below = [
        np.searchsorted(row, values)
        for row, values in zip(negatives, positives, strict=True)
    ]
    areas = np.mean(below, axis=1) / n_negative
    low, high = auroc_interval(areas, n_positive, n_negative)
    covered = ((low <= true_area) & (true_area <= high)).mean()
    assert covered >= 0.93
    assert (high - low > 0).all()


def test_f1_intervals_cover_the_true_f1():
    # Per record: hit, false alarm, miss or true negative.
    rng = np.random.default_rng(4)
    for shares in ([0.05, 0.005, 0.005, 0.94], [0.03, 0.02, 0.03, 0.92]):
        counts = rng.multinomial(200, shares, size=4000)
        hits, either = counts[:, 0], counts[:, :3].sum(axis=1)
        true_f1 = 2 * shares[0] / (2 * shares[0] + shares[1] + shares[2])
        low, high = f1_interval(hits, either)
        known = either > 0
        covered = ((low <= true_f1) & (true_f1 <= high))[known].mean()
        assert covered >= 0.93


def test_f1_by_way_of_f_star_by_hand():
    low, high = f1_interval(7, 10)
    share = binomtest(7, 10).proportion_ci(method="wilson")
    assert low == pytest.approx(2 * share.low / (1 + share.low))
    assert high == pytest.approx(2 * share.high / (1 + share.high))


def test_records_of_one_patient_count_as_much_as_they_differ():
    once = np.ones((10, 1))
    hits = np.array([1, 1, 1, 0, 1, 0, 1, 1, 1, 0.0])[:, None]
    assert effective_size(hits, once).tolist() == [10]
    # Ten records of each patient, all alike: the patients; all right: the same.
    assert effective_size(10 * hits, 10 * once) == pytest.approx([10])
    assert effective_size(10 * once, 10 * once) == pytest.approx([10])
    # Every patient has half of them right: no less than independent records.
    assert effective_size(5 * once, 10 * once) == pytest.approx([100])
    assert effective_size(np.array([[8.0]]), np.array([[10.0]])) == pytest.approx([1])


def test_intervals_of_clustered_shares_cover_the_truth():
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(1500):  # 40 patients of 1 to 8 records, their own rates around 0.8
        size = rng.integers(1, 9, 40)
        rate = rng.beta(1.6, 0.4, 40)
        hits = rng.binomial(size, rate)
        trials = effective_size(hits[:, None], size[:, None])
        low, high = wilson_interval(hits.sum() / size.sum() * trials, trials)
        covered.append(low[0] <= 0.8 <= high[0])
    assert np.mean(covered) >= 0.93


def test_a_mean_of_one_number_has_its_interval_and_of_two_a_narrower_one():
    one = mean_interval(np.array([0.8]), np.array([0.5]), np.array([0.9]))
    assert one == pytest.approx((0.5, 0.9))
    values, low, high = np.array([0.8, 0.8, np.nan]), np.full(3, 0.5), np.full(3, 0.9)
    two = mean_interval(values, low, high)
    assert two == pytest.approx((0.8 - 0.3 / 2**0.5, 0.8 + 0.1 / 2**0.5))
    assert np.isnan(mean_interval(np.array([np.nan]), low[:1], high[:1])).all()


def test_few_patients_widen_the_interval_of_perfect_recall():
    targets, probabilities = perfect(30, 30)
    inputs = (targets, probabilities, ["AF"], "multilabel")
    three = np.repeat(np.arange(6), 10)  # ten records of each of six patients
    table = bootstrap_per_class(*inputs, n_resamples=20, groups=three)
    low = table.set_index("metric").loc["recall", "low"]
    expected = binomtest(3, 3).proportion_ci(method="wilson")
    assert low == pytest.approx(expected.low)
