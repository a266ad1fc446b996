import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score

from ecgnb.core.errors import ConfigError
from ecgnb.evaluation.thresholds import CRITERIA, choose_thresholds, decide


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
