"""Plots of labels and training: records and scores per class, training curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ecgnb.core.errors import EcgnbError
from ecgnb.figures import FIGURES
from ecgnb.figures.style import (
    FAINT,
    INK,
    MUTED,
    PALETTE,
    SMALL,
    Drawing,
    classes_text,
    format_interval,
    interval_text,
    most_frequent,
    new_figure,
    panels,
    set_title,
    shorten,
    styled,
)


class Panel(NamedTuple):
    """One panel of the training curves; ``lines`` are columns of the history and their
    names in the legend.
    """

    title: str
    y_label: str
    lines: dict[str, str]


_PANELS = (
    Panel(
        "Loss",
        "loss (mean over records)",
        {"train_loss": "training", "valid_loss": "validation"},
    ),
    Panel("Macro F1, validation", "macro F1", {"macro_f1": "validation"}),
    Panel("Macro AUROC, validation", "macro AUROC", {"macro_auroc": "validation"}),
    Panel("Learning rate", "learning rate", {"lr": "learning rate"}),
)
#: Numbers of a class in the order of their panels, with their names.
CLASS_SCORES = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "specificity": "specificity",
    "auroc": "AUROC",
    "average_precision": "average precision",
}


@FIGURES.register(
    "training_curves",
    caption="Training and validation over the epochs.",
    needs="train",
    order=40,
)
@styled
def plot_training(history: pd.DataFrame, best_epoch: int | None = None) -> Drawing:
    """Draw loss, macro F1, macro AUROC and learning rate over the epochs.

    Args:
        history: one row per epoch: ``epoch`` and any of ``train_loss, valid_loss,
            macro_f1, macro_auroc, lr``.
        best_epoch: the epoch whose weights were kept; marked.

    Returns:
        The figure, and the columns of the history that it shows.

    Raises:
        EcgnbError: the history has no rows or none of these columns.
    """
    recorded = set(history.columns[history.notna().any()])
    shown = []
    for panel in _PANELS:
        lines = {
            column: label for column, label in panel.lines.items() if column in recorded
        }
        if lines:
            shown.append(panel._replace(lines=lines))
    if not shown:
        raise EcgnbError(
            f"The history has {len(history)} epochs and columns "
            f"{list(history.columns)}: there is no curve to draw. Train at least one "
            "epoch first."
        )
    figure, axes = panels(len(shown), columns=2, width=4.2, height=2.6)
    columns = ["epoch"]
    for ax, panel in zip(axes, shown, strict=True):
        _draw_panel(ax, panel, history, best_epoch)
        columns += panel.lines
    title = f"Training over {len(history)} epochs"
    note = ""
    if best_epoch is not None:
        note = (
            f"Dotted line: epoch {best_epoch}, the best one, whose weights were kept."
        )
    set_title(figure, title.removesuffix("s") if len(history) == 1 else title, note)
    return figure, history[columns].copy()


def _draw_panel(
    ax: Axes, panel: Panel, history: pd.DataFrame, best_epoch: int | None
) -> None:
    epochs = history["epoch"].to_numpy()
    # Markers keep a single epoch visible; with many epochs they would hide the line.
    marker_size = 4.5 if len(history) <= 40 else 0
    looks = zip(PALETTE, "os", strict=False)  # colour and marker of each line
    for (column, label), (colour, marker) in zip(
        panel.lines.items(), looks, strict=False
    ):
        ax.plot(
            epochs,
            history[column],
            color=colour,
            marker=marker,
            markersize=marker_size,
            label=label,
        )
    if best_epoch is not None:
        ax.axvline(best_epoch, color=MUTED, linestyle=":", linewidth=1.2)
        if "lr" not in panel.lines:
            _mark_best(ax, history, list(panel.lines)[-1], best_epoch)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    margin = max(0.5, 0.03 * np.ptp(epochs))
    ax.set_xlim(epochs.min() - margin, epochs.max() + margin)
    ax.margins(y=0.15)
    if "lr" in panel.lines:
        # From zero, or a rate that hardly changes would look as if it fell to nothing.
        ax.set_ylim(0, 1.15 * history["lr"].max() or 1)
    if len(panel.lines) > 1:
        ax.legend(loc="best")
    ax.set(title=panel.title, xlabel="epoch", ylabel=panel.y_label)


def _mark_best(ax: Axes, history: pd.DataFrame, column: str, best_epoch: int) -> None:
    """Ring the best epoch's point and write its value."""
    values = history.loc[history["epoch"] == best_epoch, column]
    if len(values) != 1 or not np.isfinite(values.iloc[0]):
        return
    value = values.iloc[0]
    ax.plot(best_epoch, value, "o", markersize=9, markerfacecolor="none", color=INK)
    text = ax.annotate(
        f"{value:.3g}", (best_epoch, value), (7, 7), textcoords="offset points"
    )
    text.set(fontsize=SMALL, ha="left")
    if best_epoch > history["epoch"].mean():  # towards the middle of the axes
        text.set(position=(-7, 7), ha="right")


@FIGURES.register(
    "per_class",
    caption="Scores of each class on the test split.",
    order=50,
    summary=lambda table: class_scores_text(table),
)
@styled
def plot_class_scores(
    per_class: pd.DataFrame,
    intervals: pd.DataFrame,
    n_records: int,
    *,
    confidence: float = 0.95,
    limit: int = 80,
) -> Drawing:
    """Draw precision, recall, F1, specificity, AUROC and average precision of each
    class as bars with their intervals.

    Args:
        per_class: one row per class: ``class, support`` and the scores; classes are
            drawn in its order.
        intervals: ``class, metric, value, low, high``, see `bootstrap_per_class`.
        n_records: records that the scores were measured on, for the title.
        confidence: coverage of the intervals, for the title.
        limit: most classes drawn; the most frequent ones are taken.

    Returns:
        The figure and ``per_class``.
    """
    shown = per_class.iloc[most_frequent(per_class["support"], limit)]
    metrics = [name for name in CLASS_SCORES if (intervals["metric"] == name).any()]
    figure = new_figure(2.2 * len(metrics) + 1.6, max(2.4, 0.26 * len(shown) + 1.3))
    axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for ax, metric, colour in zip(axes, metrics, PALETTE, strict=False):
        rows = intervals[intervals["metric"] == metric].set_index("class")
        bounds = rows.reindex(shown["class"])
        bars = bounds[["low", "high"]].assign(value=shown[metric].to_numpy())
        _draw_bars(ax, bars, colour)
        ax.set(title=CLASS_SCORES[metric], xlabel=CLASS_SCORES[metric])
    few = shown.get("few", pd.Series("", index=shown.index)).fillna("")
    labels = [
        f"{shorten(name)} ({support}{'*' if mark else ''})"
        for name, support, mark in zip(
            shown["class"], shown["support"], few, strict=True
        )
    ]
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].set_ylim(len(labels) - 0.4, -0.6)
    axes[0].set_ylabel("class (positives)")
    counted = classes_text(len(shown), len(per_class))
    set_title(
        figure,
        f"Scores by class, {counted}, n = {n_records:,} records",
        f"Black lines: {interval_text(confidence)}. A class without a bar lacks the "
        "outcomes that the number needs."
        + (" * few patients: a first impression." if few.any() else ""),
    )
    return figure, per_class


def class_scores_text(per_class: pd.DataFrame) -> pd.DataFrame:
    """Return the table of `per_class` with each number and its interval in one cell.

    Args:
        per_class: numbers with columns ``<number>_low`` and ``<number>_high`` beside
            them, such as ``auroc, auroc_low, auroc_high``.
    """
    columns: dict[Any, list[Any]] = {}
    for name, values in per_class.items():
        low, high = f"{name}_low", f"{name}_high"
        if str(name).endswith(("_low", "_high")):
            continue
        if low in per_class and high in per_class:
            rows = zip(values, per_class[low], per_class[high], strict=True)
            numbers = [map(float, row) for row in rows]
            columns[name] = [format_interval(*row) for row in numbers]
        else:
            columns[name] = values.tolist()
    return pd.DataFrame(columns)


def _draw_bars(ax: Axes, bars: pd.DataFrame, colour: str) -> None:
    rows = np.arange(len(bars))
    value, low, high = bars[["value", "low", "high"]].to_numpy(dtype=float).T
    ax.barh(rows, np.nan_to_num(value), height=0.66, color=colour, alpha=0.75)
    known = np.isfinite(value + low + high)
    ax.hlines(rows[known], low[known], high[known], color=INK, linewidth=1.1)
    for row in rows[~np.isfinite(value)]:
        ax.text(0.02, row, "not defined", va="center", fontsize=SMALL, color=MUTED)
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.grid(axis="y", visible=False)


@FIGURES.register(
    "label_counts",
    caption="Recordings of the cohort by class.",
    needs="cohort",
    order=20,
)
@styled
def plot_class_distribution(label_counts: pd.DataFrame, *, limit: int = 80) -> Drawing:
    """Draw how many records each class has, stacked by part where there are several.

    Args:
        label_counts: ``class`` and a column of counts for each part (``train, valid,
            test``, or one such as ``records``).
        limit: most classes drawn; the most frequent ones are taken.

    Returns:
        The figure, and the rows that it shows with their ``total``.
    """
    counts = label_counts.drop(columns="class")
    table = label_counts.assign(total=counts.sum(axis=1))
    shown = most_frequent(table["total"], limit)
    table = table.iloc[shown].reset_index(drop=True)
    totals = table["total"].map("{:,}".format)
    figure = _draw_counts(table["class"], table[counts.columns], totals)
    if len(counts.columns) > 1:
        figure.legend(loc="outside lower right", ncols=len(counts.columns))
    set_title(
        figure, f"Records by class, {classes_text(len(table), len(label_counts))}"
    )
    return figure, table


@FIGURES.register(
    "label_coverage",
    caption="How the recordings got their labels.",
    needs="cohort",
    order=10,
)
@styled
def plot_label_coverage(label_coverage: pd.DataFrame) -> Drawing:
    """Draw how many records have a label, an unmapped one or none.

    Args:
        label_coverage: one row per kind: its name in the first column, its number of
            records in the first numeric column.

    Returns:
        The figure, and a table ``kind, records, share``.
    """
    numeric = label_coverage.select_dtypes("number").columns
    if not len(numeric) or label_coverage.empty:
        raise EcgnbError(
            f"The coverage table has columns {list(label_coverage.columns)} and "
            f"{len(label_coverage)} rows; give a name in the first column and a "
            "column of counts."
        )
    records = label_coverage[numeric[0]].to_numpy()
    shares = records / max(1, records.sum())
    kinds = label_coverage.iloc[:, 0].astype(str).tolist()
    table = pd.DataFrame({"kind": kinds, "records": records, "share": shares})
    labels = [
        f"{n:,} ({100 * share:.1f} %)" for n, share in zip(records, shares, strict=True)
    ]
    figure = _draw_counts(kinds, table[["records"]], labels)
    set_title(figure, f"Label coverage, n = {int(records.sum()):,} records")
    return figure, table


def _draw_counts(
    names: Iterable[str], counts: pd.DataFrame, labels: Sequence[str] | pd.Series
) -> Figure:
    """Draw a bar for each row of ``counts``, its columns stacked, with a name before it
    and a label at its end.
    """
    n_rows = len(counts)
    figure = new_figure(7.2, max(1.9, 0.26 * n_rows + 1.2))
    ax = figure.subplots()
    ax.grid(axis="y", visible=False)
    ends = np.zeros(n_rows)
    for column, colour in zip(counts, PALETTE, strict=False):
        ax.barh(
            range(n_rows),
            counts[column],
            left=ends,
            color=colour,
            height=0.66,
            label=str(column),
        )
        ends = ends + counts[column].to_numpy()
    for row, (end, label) in enumerate(zip(ends, labels, strict=True)):
        text = ax.annotate(label, (end, row), (3, 0), textcoords="offset points")
        text.set(va="center", fontsize=SMALL)
    room = 1.04 + 0.013 * max(map(len, labels), default=0)  # for the longest label
    ax.set_xlim(0, room * np.max(ends, initial=1.0))
    ax.spines["bottom"].set_color(FAINT)
    ax.set_yticks(range(n_rows), list(map(shorten, names)))
    ax.set_ylim(n_rows - 0.4, -0.6)
    ax.set_xlabel("records")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    return figure


@styled
def plot_starts(table: pd.DataFrame) -> Figure:
    """Draw macro AUROC and its interval for each initialisation of a model.

    Args:
        table: ``start, macro_auroc, low, high``, one row per initialisation, each
            followed by its baseline (`ecgnb.stages.transfer.compare_starts`).
    """
    figure = new_figure(7.0, 0.55 * len(table) + 1.3)
    ax = figure.subplots()
    numbers = table[["macro_auroc", "low", "high"]].to_numpy(dtype=float)
    for row, (value, low, high) in enumerate(numbers):
        colour = MUTED if row % 2 else PALETTE[row // 2]
        ax.plot(
            [low, high],
            [row, row],
            color=colour,
            linewidth=3,
            solid_capstyle="round",
        )
        ax.plot(value, row, "o", color=colour, markersize=8, markeredgecolor="white")
        ax.annotate(
            f"{value:.3f} ({low:.3f} to {high:.3f})",
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center",
            color=colour,
        )
    ax.axvline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    ax.set_yticks(range(len(table)), table["start"])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set_xlim(min(0.45, float(table["low"].min()) - 0.03), 1.0)
    ax.set_xlabel(
        "macro AUROC on the test split, 95 % interval over patients (dashed: chance)"
    )
    ax.grid(axis="y", visible=False)
    title = "What the pretrained weights bring; baselines in grey"
    figure.suptitle(title, x=0.01, ha="left")
    return figure
