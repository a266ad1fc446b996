"""Curves and histograms show the numbers of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from figure_checks import (
    CLASSES,
    ONE_BY_ONE,
    assert_readable,
    line,
    multilabel,
    words_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgnb.evaluation.bootstrap import bootstrap_per_class
from ecgnb.figures import plots_decisions, plots_ranking, style


def test_roc_table_holds_the_areas_of_scikit_learn_and_the_lines_its_points(
    softmax: tuple,
) -> None:
    targets, probabilities = softmax
    figure, table = plots_ranking.plot_roc(
        targets, probabilities, CLASSES, "multiclass"
    )
    for k, name in enumerate(CLASSES):
        rows = table[table["class"] == name]
        assert_allclose(
            rows["auroc"],
            roc_auc_score(targets == k, probabilities[:, k]),
            rtol=0,
            atol=1e-14,
        )
        assert_array_equal(
            line(figure.axes[0], name),
            rows[["false_positive_rate", "true_positive_rate"]],
        )
        area = np.trapezoid(rows["true_positive_rate"], rows["false_positive_rate"])
        assert_allclose(area, rows["auroc"].iloc[0], atol=1e-12)
    macro = np.mean(
        [roc_auc_score(targets == k, probabilities[:, k]) for k in range(5)]
    )
    assert f"average of 5 classes: {macro:.3f}" in words_of(figure)
    assert "n = 200 records" in words_of(figure)
    assert_readable(figure)


def test_precision_recall_lines_enclose_the_average_precision(softmax: tuple) -> None:
    targets, probabilities = softmax
    figure, table = plots_ranking.plot_precision_recall(
        targets, probabilities, CLASSES, "multiclass"
    )
    for k, name in enumerate(CLASSES):
        rows = table[table["class"] == name]
        recall, precision = line(figure.axes[0], name).T
        steps = -np.sum(
            np.diff(recall) * precision[:-1]
        )  # the line is drawn as these steps
        assert_allclose(
            steps,
            average_precision_score(targets == k, probabilities[:, k]),
            atol=1e-12,
        )
        assert_allclose(rows["average_precision"], steps, atol=1e-12)
        assert rows["prevalence"].iloc[0] == np.mean(targets == k)
        (drawn,) = [
            each
            for each in figure.axes[0].get_lines()
            if np.array_equal(each.get_ydata(), [np.mean(targets == k)] * 2)
        ]
        assert drawn.get_color() == style.PALETTE[k]
    assert_readable(figure)


def test_intervals_stand_in_legend_and_table(softmax: tuple) -> None:
    targets, probabilities = softmax
    intervals = bootstrap_per_class(
        targets, probabilities, CLASSES, "multiclass", n_resamples=30, confidence=0.9
    )
    figure, table = plots_ranking.plot_roc(
        targets,
        probabilities,
        CLASSES,
        "multiclass",
        intervals=intervals,
        confidence=0.9,
    )
    expected = intervals[
        (intervals["metric"] == "auroc") & (intervals["class"] == "MI")
    ].iloc[0]
    drawn = table[table["class"] == "MI"].iloc[0]
    assert (drawn["auroc"], drawn["low"], drawn["high"]) == pytest.approx(
        tuple(expected[["value", "low", "high"]])
    )
    assert (
        f"MI: {expected['value']:.3f} ({expected['low']:.3f}-{expected['high']:.3f})"
        in words_of(figure)
    )
    assert "90 % interval" in words_of(figure)


@pytest.mark.parametrize(
    "draw", [plots_ranking.plot_roc, plots_ranking.plot_precision_recall]
)
def test_many_classes_keep_ten_names_and_the_rest_grey(draw) -> None:
    targets, probabilities = multilabel()
    names = [f"diagnosis with a long name, number {k}" for k in range(71)]
    figure, table = draw(targets, probabilities, names, "multilabel")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert (
        sum(": 0." in label and "…" in label for label in labels)
        == plots_ranking.MAX_LINES
    )
    assert "61 other classes" in labels
    assert "10 most frequent of 71 classes" in words_of(figure)
    assert table["class"].nunique() == int((targets.sum(axis=0) > 0).sum())
    assert_readable(figure)


def test_a_class_without_positives_is_named_and_not_drawn(softmax: tuple) -> None:
    targets, probabilities = softmax
    targets = np.where(targets == 2, 0, targets)
    figure, table = plots_ranking.plot_roc(
        targets, probabilities, CLASSES, "multiclass"
    )
    assert "STTC" not in set(table["class"])
    assert "STTC: not defined" in words_of(figure)
    nobody, empty = plots_ranking.plot_roc(
        np.zeros((4, 2)), np.full((4, 2), 0.3), ("A", "B"), "multilabel"
    )
    assert empty.empty and "A: not defined" in words_of(nobody)
    plots_ranking.plot_precision_recall(
        np.zeros((4, 2)), np.full((4, 2), 0.3), ("A", "B"), "multilabel"
    )
    plots_ranking.plot_score_histograms(
        np.zeros((4, 2)), np.full((4, 2), 0.3), ("A", "B"), "multilabel"
    )
    plots_decisions.plot_confusion(np.zeros(4, int), np.zeros(4, int), ("A", "B"))


def test_histograms_count_every_record_once(softmax: tuple) -> None:
    targets, probabilities = softmax
    figure, table = plots_ranking.plot_score_histograms(
        targets, probabilities, CLASSES, "multiclass"
    )
    for k, name in enumerate(CLASSES):
        rows = table[table["class"] == name]
        positives = rows[rows["group"] == "positives"]
        assert rows["count"].sum() == len(targets)
        assert positives["count"].sum() == (targets == k).sum()
        assert positives["share"].sum() == pytest.approx(1)
        drawn = figure.axes[k].patches[-1].get_data().values
        assert_allclose(drawn, 100 * positives["share"])
    assert_readable(figure)


def test_thresholds_are_drawn_in_the_panel_of_their_class() -> None:
    targets, probabilities = multilabel(classes=3)
    figure, _ = plots_ranking.plot_score_histograms(
        targets, probabilities, ("A", "B", "C"), "multilabel", thresholds=ONE_BY_ONE
    )
    assert [
        ax.get_lines()[0].get_xdata()[0] for ax in figure.axes
    ] == ONE_BY_ONE.tolist()
