import numpy as np
import pandas as pd
import pytest

from ecgnb.core.errors import ConfigError, EcgnbError, LabelError
from ecgnb.evaluation.bootstrap import bootstrap_score
from ecgnb.evaluation.challenge import (
    SINUS_RHYTHM,
    challenge_scorer,
    rhythm_f1_scorer,
)

CLASSES = ("AF", "RBBB", SINUS_RHYTHM)
WEIGHTS = np.array([[1.0, 0.5, 0.4], [0.5, 1.0, 0.3], [0.4, 0.3, 1.0]])


def challenge_score(targets, decisions, weights, classes, normal_class=SINUS_RHYTHM):
    """Score each record once."""
    score = challenge_scorer(targets, decisions, weights, classes, normal_class)
    return score(np.ones((len(targets), 1)))["challenge_score"].item()


def read_weights(path):
    table = pd.read_csv(path, index_col=0)
    return tuple(table.columns), table.to_numpy()


def score_slowly(targets, decisions, weights, normal):
    """The sums of the official definition, pair by pair."""

    def earned(called):
        total = 0.0
        for labels, calls in zip(targets, called, strict=True):
            size = max(np.sum((labels + calls) > 0), 1)
            for j in np.flatnonzero(labels):
                for k in np.flatnonzero(calls):
                    total += weights[j, k] / size
        return total

    inactive = np.zeros_like(targets)
    inactive[:, normal] = 1
    nothing = earned(inactive)
    return (earned(decisions) - nothing) / (earned(targets) - nothing)


def test_hand_worked_cases():
    # AF and RBBB, called AF alone: pairs 1 and 0.5 over two classes = 0.75. Perfect: (1
    # + 0.5 + 0.5 + 1) / 2 = 1.5. Inactive: (0.4 + 0.3) / 3 classes.
    nothing = 0.7 / 3
    expected = (0.75 - nothing) / (1.5 - nothing)
    assert challenge_score([[1, 1, 0]], [[1, 0, 0]], WEIGHTS, CLASSES) == pytest.approx(
        expected, abs=1e-12
    )
    # AF called RBBB: 0.5 over two classes. Perfect: 1. Inactive: 0.4 / 2.
    assert challenge_score([[1, 0, 0]], [[0, 1, 0]], WEIGHTS, CLASSES) == pytest.approx(
        0.05 / 0.8, abs=1e-12
    )
    # Two records: the sums are added before they are scaled.
    both = challenge_score(
        [[1, 1, 0], [1, 0, 0]], [[1, 0, 0], [0, 1, 0]], WEIGHTS, CLASSES
    )
    assert both == pytest.approx(
        (0.75 - nothing + 0.05) / (1.5 - nothing + 0.8), abs=1e-12
    )
    # Rows are the truth: AF called RBBB earns the weight in row AF.
    uneven = WEIGHTS.copy()
    uneven[0, 1] = 0.9
    assert challenge_score([[1, 0, 0]], [[0, 1, 0]], uneven, CLASSES) == pytest.approx(
        0.25 / 0.8, abs=1e-12
    )
    # Calling nothing earns nothing: below the inactive model.
    assert challenge_score([[1, 0, 0]], [[0, 0, 0]], WEIGHTS, CLASSES) == pytest.approx(
        -0.2 / 0.8, abs=1e-12
    )


def test_nothing_to_win_is_undefined():
    assert np.isnan(challenge_score([[0, 0, 1]], [[1, 0, 0]], WEIGHTS, CLASSES))


@pytest.mark.parametrize("year", [2020, 2021])
def test_real_tables(data_dir, year):
    classes, weights = read_weights(
        data_dir / "cinc2020_2021" / f"tables_{year}" / "weights.csv"
    )
    assert len(classes) == {2020: 27, 2021: 26}[year]
    np.testing.assert_array_equal(weights, weights.T)
    np.testing.assert_array_equal(np.diag(weights), 1)
    normal = classes.index(SINUS_RHYTHM)
    rng = np.random.default_rng(year)
    targets = (rng.random((60, len(classes))) < 0.1).astype(int)
    decisions = (rng.random((60, len(classes))) < 0.15).astype(int)
    inactive = np.zeros_like(targets)
    inactive[:, normal] = 1
    assert challenge_score(targets, targets, weights, classes) == 1
    assert challenge_score(targets, inactive, weights, classes) == 0
    expected = score_slowly(targets, decisions, weights, normal)
    assert challenge_score(targets, decisions, weights, classes) == pytest.approx(
        expected, abs=1e-12
    )


def test_partial_credit_of_the_real_tables(data_dir):
    """Atrial fibrillation taken for flutter earns 0.5, first-degree block taken for it
    0.3 of the real weights."""
    classes, weights = read_weights(
        data_dir / "cinc2020_2021" / "tables_2021" / "weights.csv"
    )

    def one(true, called):
        rows = np.zeros((2, 1, len(classes)), dtype=int)
        rows[0, 0, classes.index(true)] = rows[1, 0, classes.index(called)] = 1
        return challenge_score(rows[0], rows[1], weights, classes)

    # Sinus rhythm for fibrillation earns 0.25 / 2 = 0.125; flutter 0.5 / 2.
    assert one("164889003", "164890007") == pytest.approx(
        (0.25 - 0.125) / (1 - 0.125), abs=1e-12
    )
    # Sinus rhythm for the block earns 0.45 / 2; fibrillation 0.3 / 2, which is worse
    # than saying nothing new.
    assert one("270492004", "164889003") == pytest.approx(
        (0.15 - 0.225) / (1 - 0.225), abs=1e-12
    )


def test_score_can_be_bootstrapped():
    rng = np.random.default_rng(0)
    targets, decisions = rng.integers(0, 2, (80, 3)), rng.integers(0, 2, (80, 3))
    scorer = challenge_scorer(targets, decisions, WEIGHTS, CLASSES)
    table = bootstrap_score(scorer, 80, n_resamples=200)
    assert table.loc[0, "metric"] == "challenge_score"
    assert table.loc[0, "value"] == challenge_score(
        targets, decisions, WEIGHTS, CLASSES
    )
    assert table.loc[0, "low"] < table.loc[0, "value"] < table.loc[0, "high"]
    counts = rng.integers(0, 3, (80, 1)).astype(float)
    rows = np.repeat(np.arange(80), counts[:, 0].astype(int))
    expected = challenge_score(targets[rows], decisions[rows], WEIGHTS, CLASSES)
    assert scorer(counts)["challenge_score"][0] == pytest.approx(expected, abs=1e-12)


def test_wrong_arguments_are_refused():
    y = np.array([[1, 0, 0]])
    with pytest.raises(ConfigError, match="'SNR'"):
        challenge_score(y, y, WEIGHTS, CLASSES, normal_class="SNR")
    assert (
        challenge_score(y, y, WEIGHTS, ("AF", "RBBB", "SNR|NSR"), normal_class="SNR")
        == 1
    )
    with pytest.raises(EcgnbError, match=r"\(2, 2\)"):
        challenge_score(y, y, np.eye(2), CLASSES)
    with pytest.raises(EcgnbError, match=r"\(1, 2\)"):
        challenge_score(y[:, :2], y, WEIGHTS, CLASSES)
    with pytest.raises(EcgnbError, match=r"\(2, 3\)"):
        challenge_score(y, np.vstack([y, y]), WEIGHTS, CLASSES)
    with pytest.raises(LabelError, match="0 or 1"):
        challenge_score(y, 0.5 * y, WEIGHTS, CLASSES)


def test_the_score_of_2017_is_the_mean_f1_of_three_classes():
    # Rows of the official confusion matrix AA (truth x answer) for N, A, O, ~.
    matrix = np.array([[50, 1, 8, 1], [2, 6, 2, 0], [9, 3, 20, 2], [1, 0, 2, 4]])
    truth, called = np.nonzero(matrix)
    targets = np.repeat(truth, matrix[truth, called])
    decisions = np.repeat(called, matrix[truth, called])
    f1 = [2 * matrix[k, k] / (matrix[k].sum() + matrix[:, k].sum()) for k in range(4)]
    score = rhythm_f1_scorer(targets, decisions, ("N", "A", "O", "~"))
    counts = np.ones((len(targets), 1))
    assert score(counts)["challenge_f1"].item() == pytest.approx(
        np.mean(f1[:3]), abs=1e-15
    )
    # the same with classes in another order, and with counts in place of repetitions
    order = np.array(
        [("~", "O", "N", "A").index(name) for name in ("N", "A", "O", "~")]
    )
    score = rhythm_f1_scorer(order[truth], order[called], ("~", "O", "N", "A"))
    weights = matrix[truth, called][:, None].astype(float)
    assert score(weights)["challenge_f1"].item() == pytest.approx(
        np.mean(f1[:3]), abs=1e-15
    )


def test_the_score_of_2017_is_undefined_without_one_of_its_classes():
    score = rhythm_f1_scorer([0, 1], [0, 1], ("N", "A", "O", "~"))
    assert np.isnan(score(np.ones((2, 1)))["challenge_f1"]).all()
    with pytest.raises(ConfigError, match="O is not among N, A"):
        rhythm_f1_scorer([0], [0], ("N", "A"))
