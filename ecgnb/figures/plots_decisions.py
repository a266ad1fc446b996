"""Figures of decisions and of trust: confusion matrices, and whether probabilities mean
what they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ecgnb.evaluation.calibration import expected_calibration_error, reliability_table
from ecgnb.evaluation.metrics import confusion
from ecgnb.evaluation.ranking import ratio
from ecgnb.figures.style import (
    MUTED,
    PALETTE,
    SMALL,
    most_frequent,
    new_figure,
    panels,
    set_title,
    shorten,
    shown_of,
    styled,
)

#: The last row and column of a confusion matrix that does not show all classes.
OTHERS = "(other classes)"


@styled
def plot_confusion(
    targets: Any, decisions: Any, classes: Sequence[str], *, limit: int = 20
) -> tuple[Figure, pd.DataFrame]:
    """Draw the confusion matrix: one for multi-class tasks, one of 2 x 2 for each class
    of a multi-label task.

    Colours are shares of the true class (of a row), so that rare classes are judged
    like frequent ones.

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
    return (_one_matrix if np.ndim(targets) == 1 else _many_matrices)(
        counts, list(classes), limit
    )


def _one_matrix(
    counts: np.ndarray, classes: list[str], limit: int
) -> tuple[Figure, pd.DataFrame]:
    shown = most_frequent(counts.sum(axis=1), limit)
    names = [shorten(classes[k], 18) for k in shown]
    cells = _gather(counts, shown)
    if len(shown) < len(classes):
        names.append(OTHERS)
    side = 0.56 if len(names) <= 12 else 0.5
    figure = new_figure(
        max(4.4, side * len(names) + 2.6), max(3.6, side * len(names) + 1.6)
    )
    ax = figure.subplots()
    _draw_cells(ax, cells, names, figure)
    ax.set(xlabel="predicted class", ylabel="true class (records)")
    ax.set_yticklabels(
        [f"{name} ({n:,})" for name, n in zip(names, cells.sum(axis=1), strict=True)],
        rotation=0,
    )
    ax.tick_params(
        axis="x", rotation=0 if max(map(len, names)) <= 6 and len(names) <= 12 else 45
    )
    for label in ax.get_xticklabels():
        label.set_horizontalalignment(
            "center" if label.get_rotation() == 0 else "right"
        )
        label.set_rotation_mode("anchor" if label.get_rotation() else "default")
    right = int(np.trace(counts))
    title = f"Confusion matrix, {shown_of(len(shown), len(classes))}"
    set_title(
        figure,
        title,
        f"{right:,} of n = {counts.sum():,} records right ({100 * right / max(1, counts.sum()):.1f} %)",
    )
    full = [classes[k] for k in shown] + [OTHERS] * (len(shown) < len(classes))
    return figure, _cell_table(cells, full, full)


def _gather(counts: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the matrix of the classes shown, with all others summed in a last row and
    column if there are any.
    """
    place = np.full(len(counts), len(shown))
    place[shown] = np.arange(len(shown))
    size = int(place.max()) + 1
    cells = np.zeros((size, size), dtype=np.int64)
    np.add.at(cells, (place[:, None], place[None, :]), counts)
    return cells


def _draw_cells(
    ax: Axes, cells: np.ndarray, names: Sequence[str], figure: Figure
) -> None:
    import seaborn

    share = 100 * ratio(cells, cells.sum(axis=1, keepdims=True))
    empty = "0" if len(cells) <= 12 else ""  # many zeros would hide the few errors
    words = [
        [_cell_words(n, s, empty) for n, s in zip(*row, strict=True)]
        for row in zip(cells, share, strict=True)
    ]
    seaborn.heatmap(
        share,
        ax=ax,
        vmin=0,
        vmax=100,
        cmap="Blues",
        square=True,
        linewidths=0.5,
        linecolor="white",
        annot=np.array(words),
        fmt="",
        annot_kws={"fontsize": SMALL},
        xticklabels=list(names),
        yticklabels=list(names),
        cbar_kws={"label": "% of the true class", "shrink": 0.7},
    )
    ax.set_facecolor("#F2F2F2")  # a class without records has no shares


def _cell_words(count: int, share: float, empty: str = "0") -> str:
    return f"{count}\n{share:.0f} %" if count else empty


def _cell_table(
    cells: np.ndarray, true: list[str], predicted: list[str]
) -> pd.DataFrame:
    columns = {
        "true": np.repeat(np.array(true, dtype=object), len(predicted)),
        "predicted": np.tile(np.array(predicted, dtype=object), len(true)),
        "count": cells.ravel(),
        "share": ratio(cells, cells.sum(axis=1, keepdims=True)).ravel(),
    }
    return pd.DataFrame(columns)


def _many_matrices(
    counts: np.ndarray, classes: list[str], limit: int
) -> tuple[Figure, pd.DataFrame]:
    shown = most_frequent(counts[:, 1].sum(axis=1), limit)
    figure, axes = panels(len(shown), columns=5, width=2.1, height=1.75)
    tables = []
    for ax, k in zip(axes, shown, strict=True):
        share = 100 * ratio(counts[k], counts[k].sum(axis=1, keepdims=True))
        ax.imshow(share, vmin=0, vmax=100, cmap="Blues")
        for (row, column), value in np.ndenumerate(counts[k]):
            light = share[row, column] > 55
            words = _cell_words(value, float(share[row, column]))
            ax.text(
                column,
                row,
                words,
                ha="center",
                va="center",
                fontsize=SMALL,
                color="white" if light else "black",
            )
        ax.set(
            xticks=[0, 1],
            yticks=[0, 1],
            xticklabels=["no", "yes"],
            yticklabels=["no", "yes"],
        )
        ax.set_title(shorten(classes[k], 17), fontsize=9)
        ax.set(xlabel="predicted", ylabel="true")
        ax.grid(visible=False)
        cells = _cell_table(counts[k], ["no", "yes"], ["no", "yes"])
        cells.insert(0, "class", classes[k])
        tables.append(cells)
    note = "Colour and %: share of the records that have the class (yes) or have it not (no)."
    set_title(
        figure,
        f"Confusion, {shown_of(len(shown), len(classes))}, n = {counts[0].sum():,} records",
        note,
    )
    return figure, pd.concat(tables, ignore_index=True)


@styled
def plot_reliability(
    targets: Any,
    probabilities: Any,
    task: str,
    *,
    calibrated: Any = None,
    temperature: float | None = None,
    n_bins: int = 10,
) -> tuple[Figure, pd.DataFrame]:
    """Draw how often the model was right against how sure it was, before and after
    temperature scaling.

    Multi-class: the most probable class of each record. Multi-label: all classes of all
    records together. Vertical lines are 95 % Wilson intervals.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]`` before calibration (or the only ones).
        task: ``"multiclass"`` or ``"multilabel"``.
        calibrated: ``[n, n_classes]`` after calibration.
        temperature: what the logits were divided by, for the title.
        n_bins: bins of equal width.

    Returns:
        The figure, and its points: ``which`` (``before`` or ``after``) with the columns
        of `reliability_table`.

    Raises:
        EcgnbError, LabelError, ConfigError: as `reliability_table` tells.
    """
    versions = {"before": probabilities} | (
        {} if calibrated is None else {"after": calibrated}
    )
    figure = new_figure(5.4, 6.0)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.plot([0, 1], [0, 1], color=MUTED, linestyle=":", label="perfect")
    tables = []
    for (which, values), colour, marker in zip(
        versions.items(), (PALETTE[1], PALETTE[0]), "so", strict=False
    ):
        table = reliability_table(targets, values, task, n_bins)
        error = expected_calibration_error(targets, values, task)
        name = which if len(versions) > 1 else "model"
        _draw_reliability(
            top,
            bottom,
            table,
            (colour, marker, f"{name}: calibration error {error:.3f}"),
        )
        tables.append(table.assign(which=which)[["which", *table.columns]])
    what = (
        "record was of the predicted class"
        if task == "multiclass"
        else "class was present"
    )
    top.set(ylabel=f"observed: share in which the\n{what}", xlim=(0, 1), ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=3)
    bottom.set(ylabel="records" if task == "multiclass" else "records x classes")
    bottom.set_xlabel(
        "confidence: probability of the predicted class"
        if task == "multiclass"
        else "probability"
    )
    bottom.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    bottom.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    title = f"Reliability, n = {len(np.asarray(targets)):,} records"
    scaled = (
        ""
        if temperature is None
        else f"After: logits divided by the temperature {temperature:.3g}. "
    )
    set_title(figure, title, f"{scaled}Lines at the points: 95 % Wilson interval.")
    return figure, pd.concat(tables, ignore_index=True)


def _draw_reliability(
    top: Axes, bottom: Axes, table: pd.DataFrame, look: tuple[str, str, str]
) -> None:
    colour, marker, label = look
    filled = table[table["count"] > 0]
    top.vlines(
        filled["confidence"],
        filled["low"],
        filled["high"],
        color=colour,
        linewidth=1.0,
        alpha=0.7,
    )
    top.plot(
        filled["confidence"],
        filled["observed"],
        color=colour,
        marker=marker,
        markersize=5,
        label=label,
    )
    edges = np.append(table["lower"], table["upper"].iloc[-1])
    bottom.stairs(table["count"], edges, color=colour, linewidth=1.4)
    bottom.stairs(table["count"], edges, color=colour, fill=True, alpha=0.15)
