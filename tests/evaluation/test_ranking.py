"""Areas equal those of scikit-learn, ties included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction_fakes import NAMES, multilabel
from sklearn import metrics as reference

from ecgnb.evaluation.metrics import (
    compute_metrics,
)
from ecgnb.evaluation.ranking import class_areas, macro_auroc


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=40))
def test_areas_equal_scikit_learn_with_any_ties(pairs):
    truth = np.array([pair[0] for pair in pairs])
    scores = np.array([pair[1] for pair in pairs], dtype=float)
    auroc, precision = class_areas(truth[:, None], scores[:, None])
    if truth.all() or not truth.any():
        assert np.isnan(auroc[0])
    else:
        assert auroc[0] == pytest.approx(
            reference.roc_auc_score(truth, scores), abs=1e-12
        )
    if truth.any():
        assert precision[0] == pytest.approx(
            reference.average_precision_score(truth, scores), abs=1e-12
        )
    else:
        assert np.isnan(precision[0])


def test_areas_of_a_hand_worked_case():
    # Positives 0.8, 0.4; negatives 0.6, 0.4, 0.2: pairs won 3 + (0 + 0.5 + 1) of 6.
    # Precision at the positives: 1/1 at 0.8; at the tie of 0.4 two of four are
    # positive: AP = 0.5 * 1 + 0.5 * 0.5.
    auroc, precision = class_areas(
        np.array([[1], [1], [0], [0], [0]], dtype=bool),
        np.array([[0.8], [0.4], [0.6], [0.4], [0.2]]),
    )
    assert auroc[0] == 4.5 / 6
    assert precision[0] == 0.75


def test_macro_auroc_leaves_out_classes_without_both_outcomes_and_says_which():
    y, p = multilabel()
    y[:, 1], y[:, 2] = 0, 1
    result = compute_metrics(y, p, NAMES, "multilabel")
    expected = reference.roc_auc_score(y[:, [0, 3]], p[:, [0, 3]], average="macro")
    assert macro_auroc(y, p) == pytest.approx(expected, abs=1e-12)
    assert result["headline"]["macro_auroc"] == macro_auroc(y, p)
    assert result["left_out"]["macro_auroc"] == ["A", "O"]
    assert result["left_out"]["macro_average_precision"] == ["A"]
    assert result["left_out"]["balanced_accuracy"] == ["A", "O"]
    assert "2 of 4 classes" in result["warnings"][0]
    assert "A, O" in result["warnings"][0]
    assert result["per_class"][1]["auroc"] is None
    assert result["per_class"][1]["recall"] is None
    assert result["per_class"][2]["specificity"] is None
    assert result["per_class"][2]["average_precision"] == 1.0
