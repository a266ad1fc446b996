"""Plots of decisions and calibration: confusion matrices, reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ecgnb.evaluation.calibration import expected_calibration_error, reliability_table
from ecgnb.evaluation.metrics import confusion
from ecgnb.evaluation.ranking import ratio
from ecgnb.figures import FIGURES
from ecgnb.figures.style import (
    MUTED,
    PALETTE,
    SMALL,
    Drawing,
    classes_text,
    most_frequent,
    new_figure,
    panels,
    set_title,
    shorten,
    styled,
)

#: The last row and column of a confusion matrix that does not show all classes.
OTHERS = "(other classes)"


#: For each task what was observed, what is counted, and what confidence is.
_RELIABILITY_LABELS = {
    "multiclass": (
        "record was of the predicted class",
        "records",
        "confidence: probability of the predicted class",
    ),
    "multilabel": ("class was present", "records x classes", "probability"),
}


def _as_matrix(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the counts with one row per true class and one column per decision."""
    rows = list(cells.columns[: cells.columns.get_loc("predicted")])
    table = cells.pivot_table("count", index=rows, columns="predicted", sort=False)
    return table[cells["predicted"].unique()].astype(int)


@FIGURES.register(
    "confusion",
    caption="Confusion matrix on the test split.",
    order=80,
    summary=_as_matrix,
)
@styled
def plot_confusion(
    targets: Any, decisions: Any, classes: Sequence[str], *, limit: int = 20
) -> Drawing:
    """Draw the confusion matrix: one for multi-class tasks, one of 2 x 2 for each class
    of a multi-label task.

    Colours are shares of the true class (of a row), so that rare and frequent classes
    can be compared.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        decisions: of the same shape, as `decide` returns them.
        classes: names of the classes.
        limit: most classes drawn. Of a multi-class matrix the others are summed in a
            last row and column; of multi-label tasks the most frequent are drawn.

    Returns:
        The figure, and its cells. Multi-class: ``true, predicted, count, share`` (of
        the row). Multi-label: the same with ``class`` first, ``true`` and ``predicted``
        being ``"yes"`` or ``"no"``.

    Raises:
        EcgnbError: the shapes do not fit.
        LabelError: a value is not a class number, or not 0 or 1.
    """
    counts = confusion(targets, decisions, len(classes))
    if np.ndim(targets) == 1:
        return _draw_matrix(counts, classes, limit)
    return _draw_matrix_per_class(counts, classes, limit)


def _draw_matrix(counts: np.ndarray, classes: Sequence[str], limit: int) -> Drawing:
    shown = most_frequent(counts.sum(axis=1), limit)
    names = [classes[k] for k in shown]
    if len(shown) < len(classes):
        names.append(OTHERS)
    labels = [shorten(name, 18) for name in names]
    cells = _sum_others(counts, shown)
    side = len(names) * (0.56 if len(names) <= 12 else 0.5)  # inches
    figure = new_figure(max(4.4, side + 2.6), max(3.6, side + 1.6))
    ax = figure.subplots()
    _draw_heatmap(ax, cells, labels)
    true_labels = [
        f"{name} ({n:,})" for name, n in zip(labels, cells.sum(axis=1), strict=True)
    ]
    ax.set(xlabel="predicted class", ylabel="true class (records)")
    ax.set_yticklabels(true_labels, rotation=0)
    if len(names) <= 12 and max(map(len, labels)) <= 6:
        ax.tick_params(axis="x", rotation=0)
    else:
        for label in ax.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    right, n_records = np.trace(counts), counts.sum()
    percent = 100 * right / max(1, n_records)
    title = f"Confusion matrix, {classes_text(len(shown), len(classes))}"
    note = f"{right:,} of n = {n_records:,} records right ({percent:.1f} %)"
    set_title(figure, title, note)
    return figure, _cell_table(cells, names)


def _sum_others(counts: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the matrix of the classes shown, with all others summed in a last row and
    column if there are any.
    """
    position = np.full(len(counts), len(shown))  # of each class in the new matrix
    position[shown] = np.arange(len(shown))
    size = position.max() + 1
    cells = np.zeros((size, size), dtype=np.int64)
    np.add.at(cells, np.ix_(position, position), counts)
    return cells


def _row_shares(cells: np.ndarray) -> np.ndarray:
    return ratio(cells, cells.sum(axis=1, keepdims=True))


def _draw_heatmap(ax: Axes, cells: np.ndarray, labels: Sequence[str]) -> None:
    percent = 100 * _row_shares(cells)
    empty = "0" if len(cells) <= 12 else ""  # many zeros would hide the few errors
    texts = np.full(cells.shape, empty, dtype=object)
    for row, column in np.argwhere(cells):
        texts[row, column] = _cell_text(cells[row, column], percent[row, column])
    import seaborn  # here, since it takes a second and is of this figure alone

    seaborn.heatmap(
        percent,
        ax=ax,
        vmin=0,
        vmax=100,
        cmap="Blues",
        square=True,
        linewidths=0.5,
        linecolor="white",
        annot=texts,
        fmt="",
        annot_kws={"fontsize": SMALL},
        xticklabels=labels,
        yticklabels=labels,
        cbar_kws={"label": "% of the true class", "shrink": 0.7},
    )
    ax.set_facecolor("#F2F2F2")  # a class without records has no shares


def _cell_text(count: int, percent: float) -> str:
    return f"{count}\n{percent:.0f} %" if count else "0"


def _cell_table(cells: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Return one row per cell: ``true, predicted, count, share`` of the row."""
    labels = np.array(names, dtype=object)  # not cut to a common length
    columns = {
        "true": np.repeat(labels, len(names)),
        "predicted": np.tile(labels, len(names)),
        "count": cells.ravel(),
        "share": _row_shares(cells).ravel(),
    }
    return pd.DataFrame(columns)


def _draw_matrix_per_class(
    counts: np.ndarray, classes: Sequence[str], limit: int
) -> Drawing:
    shown = most_frequent(counts[:, 1].sum(axis=1), limit)
    figure, axes = panels(len(shown), columns=5, width=2.1, height=1.75)
    tables = []
    for ax, k in zip(axes, shown, strict=True):
        _draw_two_by_two(ax, counts[k])
        ax.set_title(shorten(classes[k], 17), fontsize=9)
        cells = _cell_table(counts[k], ["no", "yes"])
        cells.insert(0, "class", classes[k])
        tables.append(cells)
    counted = classes_text(len(shown), len(classes))
    title = f"Confusion, {counted}, n = {counts[0].sum():,} records"
    note = "Colour and %: share of the records with the class (yes) or without it (no)."
    set_title(figure, title, note)
    return figure, pd.concat(tables, ignore_index=True)


def _draw_two_by_two(ax: Axes, cells: np.ndarray) -> None:
    percent = 100 * _row_shares(cells)
    ax.imshow(percent, vmin=0, vmax=100, cmap="Blues")
    for (row, column), count in np.ndenumerate(cells):
        share = float(percent[row, column])
        colour = "white" if share > 55 else "black"  # readable on the blue
        text = ax.text(column, row, _cell_text(count, share), ha="center", va="center")
        text.set(fontsize=SMALL, color=colour)
    ax.set_xticks([0, 1], ["no", "yes"])
    ax.set_yticks([0, 1], ["no", "yes"])
    ax.set(xlabel="predicted", ylabel="true")
    ax.grid(visible=False)


@FIGURES.register(
    "reliability",
    caption="Calibration on the test split, before and after the correction.",
    order=90,
)
@styled
def plot_reliability(
    targets: Any,
    probabilities: Any,
    task: str,
    *,
    uncalibrated: Any = None,
    temperature: float | None = None,
    prior_strength: float = 0.0,
    n_bins: int = 10,
) -> Drawing:
    """Draw the observed share of right predictions over the confidence, before and
    after temperature scaling.

    Multi-class: the most probable class of each record. Multi-label: all classes of all
    records together. Vertical lines are 95 % Wilson intervals.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``, after calibration if there was one.
        task: ``"multiclass"`` or ``"multilabel"``.
        uncalibrated: ``[n, n_classes]`` before calibration.
        temperature: what the logits were divided by, for the title.
        prior_strength: part of the log prior that was added to them, for the title.
        n_bins: bins of equal width.

    Returns:
        The figure, and its points: ``which`` (``before`` or ``after``; ``model`` if
        ``uncalibrated`` is missing) with the columns of `reliability_table`.

    Raises:
        EcgnbError, LabelError, ConfigError: see `reliability_table`.
    """
    versions = {"before": uncalibrated, "after": probabilities}
    if uncalibrated is None:
        versions = {"model": probabilities}
    figure = new_figure(5.4, 6.0)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.plot([0, 1], [0, 1], color=MUTED, linestyle=":", label="perfect")
    tables = []
    looks = ((PALETTE[1], "s"), (PALETTE[0], "o"))
    for (which, values), (colour, marker) in zip(versions.items(), looks, strict=False):
        table = reliability_table(targets, values, task, n_bins)
        error = expected_calibration_error(targets, values, task)
        label = f"{which}: calibration error {error:.3f}"
        _draw_reliability(top, table, color=colour, marker=marker, label=label)
        edges = np.linspace(0, 1, n_bins + 1)
        bottom.stairs(table["count"], edges, color=colour, linewidth=1.4)
        bottom.stairs(table["count"], edges, color=colour, fill=True, alpha=0.15)
        table.insert(0, "which", which)
        tables.append(table)
    observed, counted, confidence = _RELIABILITY_LABELS[task]
    observed_label = f"observed: share in which the\n{observed}"
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel=observed_label)
    bottom.set(xlabel=confidence, ylabel=counted)
    figure.legend(loc="outside lower center", ncols=3)
    bottom.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    bottom.yaxis.set_major_formatter("{x:,.0f}")
    note = "Lines at the points: 95 % Wilson interval."
    if temperature is not None:
        corrected = ""
        if prior_strength:
            corrected = f"{prior_strength:.2g} of the log prior added, "
        note = (
            f"After: {corrected}logits divided by the temperature {temperature:.3g}. "
            f"{note}"
        )
    set_title(figure, f"Reliability, n = {len(np.asarray(targets)):,} records", note)
    return figure, pd.concat(tables, ignore_index=True)


def _draw_reliability(ax: Axes, table: pd.DataFrame, **look: Any) -> None:
    filled = table[table["count"] > 0]
    ax.vlines(
        filled["confidence"],
        filled["low"],
        filled["high"],
        color=look["color"],
        linewidth=1.0,
        alpha=0.7,
    )
    ax.plot(filled["confidence"], filled["observed"], markersize=5, **look)
