"""Confusion matrices and reliability diagrams show the right counts."""

from __future__ import annotations

import numpy as np
import pytest
from figure_checks import (
    CLASSES,
    assert_readable,
    line,
    multiclass,
    multilabel,
    words_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import confusion_matrix

from ecgnb.evaluation.calibration import apply_temperature, probabilities_from_logits
from ecgnb.figures import plots_decisions


def test_confusion_matrix_is_that_of_scikit_learn(softmax: tuple) -> None:
    targets, probabilities = softmax
    decisions = probabilities.argmax(axis=1)
    figure, table = plots_decisions.plot_confusion(targets, decisions, CLASSES)
    expected = confusion_matrix(targets, decisions)
    assert_array_equal(table["count"].to_numpy().reshape(5, 5), expected)
    assert table.loc[1, ["true", "predicted"]].tolist() == ["NORM", "MI"]
    shares = expected / expected.sum(axis=1, keepdims=True)
    assert_allclose(table["share"], shares.ravel())
    assert_allclose(
        figure.axes[0].collections[0].get_array().ravel(), 100 * shares.ravel()
    )
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells[0] == f"{expected[0, 0]}\n{100 * shares[0, 0]:.0f} %"
    assert f"{np.trace(expected)} of n = 200 records right" in words_of(figure)
    assert_readable(figure)


def test_classes_that_do_not_fit_are_summed() -> None:
    targets, logits = multiclass(500, 9)
    names = [f"class {k}" for k in range(9)]
    figure, table = plots_decisions.plot_confusion(
        targets, logits.argmax(axis=1), names, limit=4
    )
    assert table["count"].sum() == 500
    kept = np.argsort(-np.bincount(targets), kind="stable")[:4]
    others = table[
        (table["true"] == plots_decisions.OTHERS)
        & (table["predicted"] == plots_decisions.OTHERS)
    ]
    inside = ~np.isin(targets, kept) & ~np.isin(logits.argmax(axis=1), kept)
    assert others["count"].item() == inside.sum()
    assert "4 most frequent of 9 classes" in words_of(figure)
    assert_readable(figure)


def test_confusion_of_multilabel_tasks_is_two_by_two_a_class() -> None:
    targets, probabilities = multilabel()
    decisions = (probabilities > 0.5).astype(int)
    figure, table = plots_decisions.plot_confusion(
        targets, decisions, [f"class {k}" for k in range(71)]
    )
    assert table["class"].nunique() == 20
    first = table[table["class"] == "class 0"].set_index(["true", "predicted"])["count"]
    assert_array_equal(
        first.to_numpy().reshape(2, 2), confusion_matrix(targets[:, 0], decisions[:, 0])
    )
    assert first["yes", "no"] == ((targets[:, 0] == 1) & (decisions[:, 0] == 0)).sum()
    assert_readable(figure)


def test_reliability_before_and_after() -> None:
    targets, logits = multiclass()
    before = probabilities_from_logits(logits * 3, "multiclass")
    after = probabilities_from_logits(apply_temperature(logits * 3, 3.0), "multiclass")
    figure, table = plots_decisions.plot_reliability(
        targets, after, "multiclass", uncalibrated=before, temperature=3.0
    )
    for which in ("before", "after"):
        rows = table[(table["which"] == which) & (table["count"] > 0)]
        assert rows["count"].sum() == len(targets)
        assert_allclose(line(figure.axes[0], which), rows[["confidence", "observed"]])
    right = (before.argmax(axis=1) == targets).mean()
    rows = table[table["which"] == "before"]
    assert np.nansum(rows["observed"] * rows["count"]) / len(targets) == pytest.approx(
        right
    )
    assert "temperature 3" in words_of(figure)
    assert_readable(figure)
