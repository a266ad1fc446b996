import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction_fakes import NAMES, multiclass, multilabel
from sklearn import metrics as reference

from ecgnb.core.errors import EcgnbError, LabelError
from ecgnb.evaluation.metrics import (
    compute_metrics,
    confusion,
    per_class_metrics,
)
from ecgnb.evaluation.scorer import HEADLINE


@pytest.mark.parametrize("seed", range(3))
def test_multiclass_equals_scikit_learn(seed):
    y, p = multiclass(seed)
    decided = p.argmax(axis=1)
    result = compute_metrics(y, p, NAMES, "multiclass")
    onehot = np.eye(4)[y]
    expected = {
        "macro_auroc": reference.roc_auc_score(
            y, p, multi_class="ovr", average="macro"
        ),
        "macro_average_precision": reference.average_precision_score(
            onehot, p, average="macro"
        ),
        "macro_f1": reference.f1_score(y, decided, average="macro"),
        "weighted_f1": reference.f1_score(y, decided, average="weighted"),
        "micro_f1": reference.f1_score(y, decided, average="micro"),
        "balanced_accuracy": reference.balanced_accuracy_score(y, decided),
        "accuracy": reference.accuracy_score(y, decided),
        "brier": ((onehot - p) ** 2).sum(axis=1).mean(),
    }
    for name, value in expected.items():
        assert result["headline"][name] == pytest.approx(value, abs=1e-12), name
    assert tuple(result["headline"]) == HEADLINE["multiclass"]
    assert result["confusion_matrix"] == reference.confusion_matrix(y, decided).tolist()
    _assert_per_class(result["per_class"], onehot, np.eye(4)[decided], p)


@pytest.mark.parametrize("seed", range(3))
def test_multilabel_equals_scikit_learn(seed):
    y, p = multilabel(seed)
    limits = np.array([0.3, 0.4, 0.5, 0.6])
    decided = (p >= limits).astype(int)
    result = compute_metrics(y, p, NAMES, "multilabel", limits)
    expected = {
        "macro_auroc": reference.roc_auc_score(y, p, average="macro"),
        "macro_average_precision": reference.average_precision_score(
            y, p, average="macro"
        ),
        "macro_f1": reference.f1_score(y, decided, average="macro"),
        "weighted_f1": reference.f1_score(y, decided, average="weighted"),
        "micro_f1": reference.f1_score(y, decided, average="micro"),
        "balanced_accuracy": np.mean(
            [
                reference.balanced_accuracy_score(y[:, k], decided[:, k])
                for k in range(4)
            ]
        ),
        "exact_match": reference.accuracy_score(y, decided),
        "hamming_loss": reference.hamming_loss(y, decided),
        "brier": np.mean(
            [reference.brier_score_loss(y[:, k], p[:, k]) for k in range(4)]
        ),
    }
    for name, value in expected.items():
        assert result["headline"][name] == pytest.approx(value, abs=1e-12), name
    assert tuple(result["headline"]) == HEADLINE["multilabel"]
    assert (
        result["confusion_matrix"]
        == reference.multilabel_confusion_matrix(y, decided).tolist()
    )
    assert result["thresholds"] == limits.tolist()
    _assert_per_class(result["per_class"], y, decided, p)


def _assert_per_class(rows, onehot, decided, p):
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        onehot, decided, zero_division=0
    )
    for k, row in enumerate(rows):
        negatives = onehot[:, k] == 0
        assert row["class"] == NAMES[k]
        assert row["support"] == support[k]
        assert row["called"] == decided[:, k].sum()
        assert row["precision"] == pytest.approx(precision[k], abs=1e-12)
        assert row["recall"] == pytest.approx(recall[k], abs=1e-12)
        assert row["f1"] == pytest.approx(f1[k], abs=1e-12)
        assert row["specificity"] == pytest.approx(
            (decided[negatives, k] == 0).mean(), abs=1e-12
        )
        assert row["auroc"] == pytest.approx(
            reference.roc_auc_score(onehot[:, k], p[:, k]), abs=1e-12
        )
        assert row["average_precision"] == pytest.approx(
            reference.average_precision_score(onehot[:, k], p[:, k]), abs=1e-12
        )
        assert row["brier"] == pytest.approx(
            reference.brier_score_loss(onehot[:, k], p[:, k]), abs=1e-12
        )


def test_perfect_and_worst_predictions():
    perfect = compute_metrics([0, 1, 2], np.eye(3), ("a", "b", "c"), "multiclass")[
        "headline"
    ]
    lower = {"brier", "ece", "hamming_loss"}
    assert all(value == (0 if name in lower else 1) for name, value in perfect.items())
    worst = compute_metrics(
        [0, 1, 2], np.roll(np.eye(3), 1, axis=1), ("a", "b", "c"), "multiclass"
    )["headline"]
    assert worst["accuracy"] == worst["macro_f1"] == 0
    assert (worst["brier"], worst["ece"]) == (2, 1)


def test_one_record():
    result = compute_metrics([1], [[0.3, 0.7]], ("a", "b"), "multiclass")
    assert result["headline"]["macro_auroc"] is None
    assert result["headline"]["accuracy"] == 1
    assert result["headline"]["brier"] == pytest.approx(0.18)
    assert result["left_out"]["macro_auroc"] == ["a", "b"]
    assert result["confusion_matrix"] == [[0, 0], [0, 1]]


def test_constant_scores_rank_at_chance_and_are_warned_of():
    result = compute_metrics(
        [0, 1, 1, 0], np.full((4, 2), 0.5), ("a", "b"), "multiclass"
    )
    assert result["headline"]["macro_auroc"] == 0.5
    assert result["headline"]["macro_average_precision"] == 0.5
    assert "same probabilities" in result["warnings"][0]


def test_saturated_outputs_are_warned_of():
    result = compute_metrics([0, 1], [[1.0, 0.0], [1.0, 0.0]], ("a", "b"), "multiclass")
    assert "same probabilities" in result["warnings"][0]
    result = compute_metrics([0, 1], [[1.0, 0.0], [0.0, 1.0]], ("a", "b"), "multiclass")
    assert "saturated" in result["warnings"][0]
    assert compute_metrics(*multiclass(), NAMES, "multiclass")["warnings"] == []


def test_result_is_plain_json():
    y, p = multilabel()
    y[:, 0] = 0
    result = compute_metrics(
        y.astype(np.float32), p.astype(np.float32), list(NAMES), "multilabel"
    )
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_per_class_table_has_one_row_a_class():
    table = per_class_metrics(*multiclass(), NAMES, "multiclass")
    assert table["class"].tolist() == list(NAMES)
    assert table["support"].sum() == 300
    assert table["threshold"].isna().all()
    assert table["ece"].between(0, 1).all()


def test_confusion_counts_by_hand():
    assert confusion([0, 0, 1, 2], [0, 1, 1, 0], 3).tolist() == [
        [1, 1, 0],
        [0, 1, 0],
        [1, 0, 0],
    ]
    counted = confusion([[1, 0], [1, 1], [0, 0]], [[1, 1], [0, 1], [0, 0]], 2)
    assert counted.tolist() == [[[1, 0], [1, 1]], [[1, 1], [0, 1]]]
    with pytest.raises(EcgnbError, match="do not fit"):
        confusion([0, 1], [0], 2)
    with pytest.raises(LabelError, match="decisions"):
        confusion([0, 1], [0, 2], 2)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.permutations(range(4)))
def test_order_of_records_and_classes_does_not_matter(seed, order):
    y, p = multilabel(seed, n=25)
    rows = np.random.default_rng(seed).permutation(25)
    first = compute_metrics(y, p, NAMES, "multilabel")["headline"]
    second = compute_metrics(y[rows][:, order], p[rows][:, order], NAMES, "multilabel")[
        "headline"
    ]
    assert first == pytest.approx(second, abs=1e-12, nan_ok=True)
