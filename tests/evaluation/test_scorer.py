"""F1 and F-max follow their definitions where classes are absent."""

import numpy as np
import pytest
from prediction_fakes import NAMES, multiclass, multilabel
from sklearn import metrics as reference

from ecgnb.evaluation.metrics import (
    compute_metrics,
)
from ecgnb.evaluation.scorer import F_MAX_GRID, FMax


def test_f1_of_a_class_neither_present_nor_called_is_left_out():
    y, p = multiclass(n_classes=3)
    p = np.hstack([p, np.zeros((len(p), 1))])
    headline = compute_metrics(y, p, NAMES, "multiclass")["headline"]
    decided = p.argmax(axis=1)
    kwargs = {"labels": range(4), "zero_division": np.nan}
    assert headline["macro_f1"] == pytest.approx(
        reference.f1_score(y, decided, average="macro", **kwargs), abs=1e-12
    )
    assert headline["weighted_f1"] == pytest.approx(
        reference.f1_score(y, decided, average="weighted"), abs=1e-12
    )
    assert headline["balanced_accuracy"] == pytest.approx(
        reference.balanced_accuracy_score(y, decided), abs=1e-12
    )


def test_f1_of_a_class_called_but_absent_is_zero_and_counts():
    # Class 2 is called once and never true: F1 1, 2/3 and 0.
    p = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
    headline = compute_metrics([0, 1, 1], p, ("a", "b", "c"), "multiclass")["headline"]
    assert headline["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert headline["balanced_accuracy"] == pytest.approx((1 + 0.5) / 2)


def f_max_slowly(truth, probabilities, grid):
    best = 0.0
    for threshold in grid:
        precisions, recalls = [], []
        for labels, scores in zip(truth, probabilities, strict=True):
            called = scores >= threshold
            if called.any():
                precisions.append(labels[called].mean())
            if labels.any():
                recalls.append(called[labels].mean())
        if precisions and sum(recalls) > 0 and sum(precisions) > 0:
            precision, recall = np.mean(precisions), np.mean(recalls)
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_f_max_equals_its_definition(seed):
    y, p = multilabel(seed, n=40, decimals=seed + 1)
    assert (y.sum(axis=1) == 0).any()  # records without a label have no recall
    value = compute_metrics(y, p, NAMES, "multilabel")["headline"]["f_max"]
    assert value == pytest.approx(
        f_max_slowly(y.astype(bool), p, F_MAX_GRID), abs=1e-12
    )


def test_f_max_of_a_hand_worked_case():
    truth = np.array([[1, 0], [0, 1]], dtype=bool)
    p = np.array([[0.9, 0.6], [0.2, 0.55]])
    # From 0.56 to 0.6: record 0 calls both (precision 1/2), record 1 none: P = 1/2, R =
    # (1 + 0) / 2, F = 1/2. From 0.21 to 0.55: precisions 1/2 and 1, recalls 1 and 1: F
    # = 2 * 0.75 / 1.75 = 6/7. From 0.61 to 0.9: one record calls, rightly: P = 1, R =
    # 1/2, F = 2/3.
    assert FMax(truth, p)(np.ones((2, 1)))[0] == pytest.approx(6 / 7, abs=1e-12)
    # A probability of 1 reaches the threshold 1, where nothing else does.
    certain = FMax(np.array([[True], [False]]), np.array([[1.0], [0.995]]))
    assert certain(np.ones((2, 1)))[0] == 1
    # Record 0 alone: at 0.61 precision and recall are 1.
    assert FMax(truth, p)(np.array([[1.0], [0.0]]))[0] == pytest.approx(1, abs=1e-12)
