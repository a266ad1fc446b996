import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from ecgnb.core.errors import ConfigError, EcgnbError, LabelError
from ecgnb.evaluation.metrics import (
    compute_metrics,
    confusion,
    per_class_metrics,
)
from ecgnb.evaluation.ranking import class_areas, macro_auroc
from ecgnb.evaluation.scorer import F_MAX_GRID, HEADLINE, FMax

NAMES = ("N", "A", "O", "~")


def multiclass(seed=0, n=300, n_classes=4, decimals=2):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, n_classes, n)
    logits = rng.normal(size=(n, n_classes)) + 1.5 * np.eye(n_classes)[targets]
    probabilities = np.exp(np.round(logits, decimals))  # rounded logits give ties
    return targets, probabilities / probabilities.sum(axis=1, keepdims=True)


def multilabel(seed=0, n=300, n_classes=4, decimals=2):
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, n_classes)) < np.linspace(0.1, 0.5, n_classes)).astype(
        int
    )
    return targets, np.round(
        np.clip(0.7 * rng.random((n, n_classes)) + 0.3 * targets, 0, 1), decimals
    )


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


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_probabilities_that_are_not_finite_are_refused(bad):
    y, p = multiclass()
    p[7, 2] = bad
    with pytest.raises(
        EcgnbError, match=r"1 of 300 records are NaN or infinite \(first: row 7"
    ):
        compute_metrics(y, p, NAMES, "multiclass")
    with pytest.raises(EcgnbError, match="row 7"):
        macro_auroc(y, p)


def test_arguments_that_do_not_fit_are_refused():
    y, p = multiclass()
    with pytest.raises(EcgnbError, match=r"\(299,\).*\(300, 4\)"):
        compute_metrics(y[1:], p, NAMES, "multiclass")
    with pytest.raises(EcgnbError, match=r"\(300,\).*multilabel.*\(300, 4\)"):
        compute_metrics(y, p, NAMES, "multilabel")
    with pytest.raises(EcgnbError, match="299"):
        macro_auroc(y[1:], p)
    with pytest.raises(ConfigError, match="3 class names"):
        compute_metrics(y, p, NAMES[:3], "multiclass")
    with pytest.raises(ConfigError, match="'multi'"):
        compute_metrics(y, p, NAMES, "multi")
    with pytest.raises(LabelError, match="first is 4"):
        compute_metrics(np.where(y == 3, 4, y), p, NAMES, "multiclass")
    with pytest.raises(LabelError, match="0 or 1"):
        compute_metrics(np.full(p.shape, 0.5), p, NAMES, "multilabel")
    with pytest.raises(EcgnbError, match="logits"):
        compute_metrics(y, 4 * p - 1, NAMES, "multiclass")
    with pytest.raises(EcgnbError, match="sum to"):
        compute_metrics(y, p / 2, NAMES, "multiclass")
    with pytest.raises(EcgnbError, match=r"\(0, 4\)"):
        compute_metrics([], np.empty((0, 4)), NAMES, "multiclass")
    with pytest.raises(ConfigError, match="no thresholds"):
        compute_metrics(y, p, NAMES, "multiclass", [0.5] * 4)


def test_targets_of_any_number_type_are_the_same():
    y, p = multilabel()
    results = [
        compute_metrics(y.astype(kind), p, NAMES, "multilabel")
        for kind in (bool, np.float32, np.int8)
    ]
    assert results[0] == results[1] == results[2]


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
