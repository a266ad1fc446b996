import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.metrics import f1_score

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.evaluation.thresholds import CRITERIA, choose_thresholds, decide


def best_by_trying_all(truth, scores):
    tried = [*np.unique(scores), 2.0]
    return max(f1(truth, (scores >= threshold).astype(int)) for threshold in tried)


def f1(truth, decided):
    return reference.f1_score(truth, decided, zero_division=0)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=1, max_size=30)
)
def test_no_threshold_is_better(pairs):
    truth, scores = (np.array(column) for column in zip(*pairs, strict=True))
    scores = scores / 8
    chosen = choose_thresholds(truth[:, None], scores[:, None], "multilabel")
    if not truth.any():
        assert chosen.tolist() == [0.5]
        return
    decided = decide(scores[:, None], "multilabel", chosen)[:, 0]
    assert f1(truth, decided) == pytest.approx(
        best_by_trying_all(truth, scores), abs=1e-12
    )


def test_threshold_of_hand_worked_cases():
    def chosen(truth, scores):
        return choose_thresholds(
            np.array(truth)[:, None], np.array(scores)[:, None], "multilabel"
        )[0]

    # Calling the upper three gives F1 = 2*2/(3+2) = 0.8; the cut lies between 0.4 and
    # 0.3.
    assert chosen([0, 1, 0, 1], [0.3, 0.4, 0.5, 0.9]) == pytest.approx(0.35)
    # F1 is 2/3 for one call (1 of 1) and for four (2 of 4), and 0.75 and 0.25 are
    # equally far from 0.5: the higher is taken.
    assert chosen([1, 0, 0, 1, 0], [1.0, 0.5, 0.5, 0.5, 0.0]) == 0.75
    # F1 is 2/3 for the upper one (2 of 3) and for all four (4 of 6): 0.8 is nearer to
    # 0.5 than 0.05.
    assert chosen([1, 0, 0, 1], [0.9, 0.7, 0.3, 0.1]) == pytest.approx(0.8)
    # All positive: everything is called.
    assert chosen([1, 1], [0.2, 0.6]) == pytest.approx(0.1)
    # The best cut lies below probability 0: everything is called.
    assert chosen([1, 0], [0.0, 0.0]) == 0.0


def test_threshold_between_neighbouring_floats_still_separates_them():
    first = 0.3
    second = np.nextafter(first, 1)
    third = np.nextafter(second, 1)
    for low, high in (
        (first, second),
        (second, third),
    ):  # one middle is rounded up, the other down
        chosen = choose_thresholds([[0], [1]], [[low], [high]], "multilabel")
        assert decide([[low], [high]], "multilabel", chosen).tolist() == [[0], [1]]


def test_order_of_records_does_not_matter():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, (200, 5)), rng.random((200, 5)).round(2)
    order = rng.permutation(200)
    first, second = (
        choose_thresholds(y[rows], p[rows], "multilabel")
        for rows in (np.arange(200), order)
    )
    assert first.tolist() == second.tolist()
    assert first.shape == (5,)


def test_multiclass_has_no_thresholds():
    p = [[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]]
    assert choose_thresholds([1, 0], p, "multiclass") is None
    assert decide(p, "multiclass").tolist() == [1, 0]
    with pytest.raises(ConfigError, match="no thresholds"):
        decide(p, "multiclass", [0.5, 0.5, 0.5])


def test_decide_calls_what_reaches_the_threshold():
    p = [[0.5, 0.49], [0.1, 0.9]]
    assert decide(p, "multilabel").tolist() == [[1, 0], [0, 1]]
    assert decide(p, "multilabel", [0.1, 0.95]).tolist() == [[1, 0], [1, 0]]
    assert decide(p, "multilabel", ()).tolist() == [[1, 0], [0, 1]]


def test_wrong_arguments_are_refused():
    y, p = np.array([[0], [1]]), np.array([[0.2], [0.8]])
    with pytest.raises(ConfigError, match="each of the 1 classes"):
        decide(p, "multilabel", [0.5, 0.5])
    with pytest.raises(EcgnbError, match="NaN"):
        choose_thresholds(y, [[np.nan], [0.5]], "multilabel")
    with pytest.raises(EcgnbError, match=r"\(2,\)"):
        choose_thresholds([0, 1], p, "multilabel")


def cohort(seed, n=12, n_classes=2, levels=8):
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, n_classes)) < 0.35).astype(int)
    noise = rng.normal(size=truth.shape)
    raw = 1 / (1 + np.exp(-(2 * truth - 1.5 + noise)))
    return truth, np.ceil(raw * levels) / (levels + 1)


def youden(truth, decided):
    """Sum over the classes that have both outcomes."""
    total = 0.0
    for y, d in zip(truth.T, decided.T, strict=True):
        if 0 < y.sum() < len(y):
            total += d[y == 1].mean() - d[y == 0].mean()
    return total


MEASURES = {
    "macro_f1": lambda y, d: f1_score(y, d, average="macro", zero_division=0),
    "micro_f1": lambda y, d: f1_score(y, d, average="micro", zero_division=0),
    "exact_match": lambda y, d: (y == d).all(axis=1).mean(),
    "youden": youden,
}


@pytest.mark.parametrize("criterion", ["macro_f1", "micro_f1", "youden"])
@pytest.mark.parametrize("seed", range(3))
def test_no_other_thresholds_are_better_on_the_same_records(criterion, seed):
    truth, scores = cohort(seed)
    measure = MEASURES[criterion]
    limits = choose_thresholds(truth, scores, "multilabel", criterion)
    chosen = measure(truth, decide(scores, "multilabel", limits))
    grid = (np.arange(9) + 0.5) / 9  # between all levels, below and above them
    best = max(
        measure(truth, decide(scores, "multilabel", pair))
        for pair in itertools.product(grid, grid)
    )
    assert chosen == pytest.approx(best)


@pytest.mark.parametrize("seed", range(4))
def test_each_criterion_is_the_best_of_all_by_its_own_measure(seed):
    truth, scores = cohort(seed, n=200, n_classes=8, levels=1000)
    decided = {"half": decide(scores, "multilabel", None)}
    for criterion in CRITERIA:
        limits = choose_thresholds(truth, scores, "multilabel", criterion)
        assert ((limits > 0) & (limits < 1)).all()
        decided[criterion] = decide(scores, "multilabel", limits)
    for criterion in CRITERIA:
        values = {
            name: MEASURES[criterion](truth, decision)
            for name, decision in decided.items()
        }
        assert values[criterion] == pytest.approx(max(values.values())), values


def test_joint_criteria_silence_a_class_that_is_only_called_wrongly():
    truth = np.array([[1, 0], [1, 0], [0, 0], [0, 0]])
    scores = np.array([[0.9, 0.8], [0.8, 0.7], [0.2, 0.6], [0.1, 0.9]])
    for criterion in ("micro_f1", "exact_match"):
        limits = choose_thresholds(truth, scores, "multilabel", criterion)
        assert decide(scores, "multilabel", limits).tolist() == truth.tolist()
    alone = choose_thresholds(truth, scores, "multilabel", "youden")
    assert alone[1] == 0.5


def test_an_unknown_criterion_is_refused():
    with pytest.raises(ConfigError, match="'accuracy'; choose one of macro_f1"):
        choose_thresholds([[0]], [[0.1]], "multilabel", "accuracy")
