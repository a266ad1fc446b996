from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from ecgnb.training.validation import validation_scores


def test_multiclass_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    logits, targets = (
        rng.normal(size=(60, 3)).astype(np.float32),
        rng.integers(0, 3, 60),
    )
    found = validation_scores(targets, logits, ("A", "B", "C"), "multiclass")
    assert list(found) == [
        "macro_f1",
        "macro_auroc",
        "f1_A",
        "f1_B",
        "f1_C",
        "auroc_A",
        "auroc_B",
        "auroc_C",
    ]
    assert found["macro_f1"] == pytest.approx(
        f1_score(targets, logits.argmax(1), average="macro")
    )
    odds = np.exp(logits.astype(np.float64))
    probabilities = odds / odds.sum(1, keepdims=True)
    assert found["macro_auroc"] == pytest.approx(
        roc_auc_score(targets, probabilities, multi_class="ovr")
    )
    assert found["auroc_B"] == pytest.approx(
        roc_auc_score(targets == 1, probabilities[:, 1])
    )


def test_multilabel_at_one_half_and_undefined_classes() -> None:
    targets = np.array([[1, 0], [0, 0], [1, 0]], dtype=np.float32)
    logits = np.array([[2.0, -1.0], [1.0, -2.0], [-0.1, -3.0]])
    found = validation_scores(targets, logits, ["A", "B"], "multilabel")
    assert found["f1_A"] == found["macro_f1"] == pytest.approx(0.5)
    assert found["auroc_A"] == found["macro_auroc"] == pytest.approx(0.5)
    assert math.isnan(found["auroc_B"])
