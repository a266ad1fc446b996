"""Figures show the numbers of their tables, and the tables hold the numbers of other
implementations."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from figure_checks import (
    CLASSES,
    assert_readable,
    history,
    line,
    multilabel,
    words_of,
)
from numpy.testing import assert_allclose, assert_array_equal

from ecgnb.core.errors import EcgnbError
from ecgnb.evaluation.bootstrap import bootstrap_per_class
from ecgnb.evaluation.metrics import per_class_metrics
from ecgnb.figures import plots, style


@pytest.mark.parametrize("epochs", [1, 2, 30, 200])
def test_training_curves_show_the_history(epochs: int) -> None:
    rows = history(epochs)
    figure, table = plots.plot_training(rows, best_epoch=1)
    assert list(table) == [
        "epoch",
        "train_loss",
        "valid_loss",
        "macro_f1",
        "macro_auroc",
        "lr",
    ]
    assert_array_equal(
        line(figure.axes[0], "validation"), rows[["epoch", "valid_loss"]]
    )
    assert_array_equal(line(figure.axes[3], "learning rate"), rows[["epoch", "lr"]])
    assert (figure.axes[0].get_lines()[0].get_markersize() > 0) == (epochs <= 40)
    assert (
        "Training over 1 epoch\n" if epochs == 1 else f"Training over {epochs} epochs\n"
    ) in words_of(figure)
    assert_readable(figure)


def test_training_without_validation_shows_what_there_is() -> None:
    figure, table = plots.plot_training(
        history(3)[["epoch", "train_loss", "lr"]].assign(macro_f1=np.nan)
    )
    assert list(table) == ["epoch", "train_loss", "lr"]
    assert len(figure.axes) == 2
    with pytest.raises(EcgnbError, match="0 epochs"):
        plots.plot_training(history(3).head(0))


def test_bars_of_classes_have_the_lengths_of_the_table(softmax: tuple) -> None:
    targets, probabilities = softmax
    intervals = bootstrap_per_class(
        targets, probabilities, CLASSES, "multiclass", n_resamples=20
    )
    per_class = per_class_metrics(targets, probabilities, CLASSES, "multiclass")
    figure, table = plots.plot_class_scores(per_class, intervals, len(targets))
    assert table is per_class
    for ax, metric in zip(figure.axes, plots.CLASS_SCORES, strict=True):
        rows = intervals[intervals["metric"] == metric]
        assert_allclose([bar.get_width() for bar in ax.patches], rows["value"])
        assert_allclose([bar.get_width() for bar in ax.patches], per_class[metric])
        ends = np.array(ax.collections[0].get_segments())[:, :, 0]
        assert_allclose(ends, rows[["low", "high"]])
    label = figure.axes[0].get_yticklabels()[1].get_text()
    assert label == f"MI ({(targets == 1).sum()})"
    assert_readable(figure)


def test_bars_of_seventy_one_classes_stay_readable() -> None:
    targets, probabilities = multilabel()
    names = [f"diagnosis with a long name, number {k}" for k in range(71)]
    intervals = bootstrap_per_class(
        targets, probabilities, names, "multilabel", n_resamples=5
    )
    per_class = per_class_metrics(targets, probabilities, names, "multilabel")
    figure, _ = plots.plot_class_scores(per_class, intervals, len(targets))
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) == 71
    gaps = [upper.y0 - lower.y1 for upper, lower in itertools.pairwise(boxes)]
    assert min(gaps) > 0, "names must not overlap"
    few, _ = plots.plot_class_scores(per_class, intervals, len(targets), limit=3)
    frequent = np.argsort(-targets.sum(axis=0), kind="stable")[:3]
    labels = [label.get_text() for label in few.axes[0].get_yticklabels()]
    assert labels == [
        f"{style.shorten(names[k])} ({targets[:, k].sum()})" for k in frequent
    ]


def test_distribution_and_coverage() -> None:
    counts = pd.DataFrame(
        {"class": ["A", "B"], "train": [80, 8], "valid": [10, 1], "test": [10, 0]}
    )
    figure, table = plots.plot_class_distribution(counts)
    assert table["total"].tolist() == [100, 9]
    assert [bar.get_x() for bar in figure.axes[0].patches][4:] == [90, 9]
    assert_readable(figure)
    coverage = pd.DataFrame({"kind": ["mapped", "unmapped"], "records": [30, 10]})
    figure, table = plots.plot_label_coverage(coverage)
    assert table["share"].tolist() == [0.75, 0.25]
    assert "30 (75.0 %)" in words_of(figure)
    assert_readable(figure)
    with pytest.raises(EcgnbError, match="column of counts"):
        plots.plot_label_coverage(coverage[["kind"]])
