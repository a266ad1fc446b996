"""Figures of a training and of the labels: curves over the epochs, scores of each
class, how many records there are.

Every figure function of this room returns the figure and the table of the numbers that
it drew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ecgnb.core.errors import EcgnbError
from ecgnb.figures.style import (
    FAINT,
    INK,
    MUTED,
    PALETTE,
    SMALL,
    interval_words,
    most_frequent,
    new_figure,
    panels,
    set_title,
    shorten,
    shown_of,
    styled,
)

#: Panels of the training curves: title, label of the axis, and column of the history ->
#: word of the legend.
_CURVES: tuple[tuple[str, str, dict[str, str]], ...] = (
    (
        "Loss",
        "loss (mean over records)",
        {"train_loss": "training", "valid_loss": "validation"},
    ),
    ("Macro F1, validation", "macro F1", {"macro_f1": "validation"}),
    ("Macro AUROC, validation", "macro AUROC", {"macro_auroc": "validation"}),
    ("Learning rate", "learning rate", {"lr": "learning rate"}),
)
#: Numbers of a class in the order of their panels, with their names.
CLASS_SCORES = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "specificity": "specificity",
    "auroc": "AUROC",
}


@styled
def plot_training(
    history: pd.DataFrame, best_epoch: int | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw the training curves: loss, macro F1, macro AUROC and learning rate over the
    epochs.

    Args:
        history: a row an epoch: ``epoch`` and any of ``train_loss, valid_loss,
            macro_f1, macro_auroc, lr``.
        best_epoch: the epoch whose weights were kept; marked.

    Returns:
        The figure, and the columns of the history that it shows.

    Raises:
        EcgnbError: the history has no rows or none of these columns.
    """
    shown = [
        panel for panel in _CURVES if any(_has(history, column) for column in panel[2])
    ]
    if history.empty or not shown:
        raise EcgnbError(
            f"The history has {len(history)} epochs and columns {list(history.columns)}: there is no curve to draw. "
            "Train at least one epoch first."
        )
    figure, axes = panels(len(shown), columns=2, width=4.2, height=2.6)
    for ax, (title, label, columns) in zip(axes, shown, strict=True):
        _draw_curves(ax, history, columns, best_epoch)
        ax.set(title=title, xlabel="epoch", ylabel=label)
    epochs = f"{len(history)} epoch" + ("s" if len(history) != 1 else "")
    note = (
        ""
        if best_epoch is None
        else f"Dotted line: epoch {best_epoch}, the best one, whose weights were kept."
    )
    set_title(figure, f"Training over {epochs}", note)
    drawn = [column for panel in shown for column in panel[2] if _has(history, column)]
    return figure, history[["epoch", *drawn]].copy()


def _has(history: pd.DataFrame, column: str) -> bool:
    return column in history and bool(history[column].notna().any())


def _draw_curves(
    ax: Axes, history: pd.DataFrame, columns: dict[str, str], best_epoch: int | None
) -> None:
    epochs = history["epoch"].to_numpy()
    names = {column: word for column, word in columns.items() if _has(history, column)}
    for (column, word), colour, marker in zip(
        names.items(), PALETTE, "os", strict=False
    ):
        # Markers keep a single epoch visible; with many epochs they would hide the
        # line.
        size = 4.5 if len(history) <= 40 else 0
        ax.plot(
            epochs,
            history[column],
            color=colour,
            marker=marker,
            markersize=size,
            label=word,
        )
    if best_epoch is not None:
        ax.axvline(best_epoch, color=MUTED, linestyle=":", linewidth=1.2)
        if "lr" not in names:
            _name_best(ax, history, next(reversed(names)), best_epoch)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    room = max(0.5, 0.03 * np.ptp(epochs))
    ax.set_xlim(epochs.min() - room, epochs.max() + room)
    ax.margins(y=0.15)
    if (
        "lr" in names
    ):  # from zero, or a rate that hardly changes would look as if it fell to nothing
        ax.set_ylim(0, 1.15 * history["lr"].max() or 1)
    if len(names) > 1:
        ax.legend(loc="best")


def _name_best(ax: Axes, history: pd.DataFrame, column: str, best_epoch: int) -> None:
    """Ring the best epoch's point and write its value."""
    value = history.loc[history["epoch"] == best_epoch, column]
    if len(value) != 1 or not np.isfinite(value.iloc[0]):
        return
    ax.plot(
        [best_epoch],
        [value.iloc[0]],
        "o",
        markersize=9,
        markerfacecolor="none",
        color=INK,
        label="_best",
    )
    left = best_epoch > history["epoch"].mean()
    ax.annotate(
        f"{value.iloc[0]:.3g}",
        (best_epoch, value.iloc[0]),
        xytext=(-7 if left else 7, 7),
        textcoords="offset points",
        ha="right" if left else "left",
        fontsize=SMALL,
    )


@styled
def plot_class_scores(
    scores: pd.DataFrame,
    support: pd.Series,
    n_records: int,
    *,
    confidence: float = 0.95,
    limit: int = 80,
) -> tuple[Figure, pd.DataFrame]:
    """Draw precision, recall, F1, specificity and AUROC of each class as bars with
    their intervals.

    Args:
        scores: ``class, metric, value, low, high``, as `bootstrap_per_class` returns
            it; NaN is not drawn.
        support: positives a class, with the class names as index; classes are drawn in
            its order.
        n_records: records that the scores were measured on, for the title.
        confidence: coverage of the intervals, for the title.
        limit: most classes drawn; the most frequent ones are taken.

    Returns:
        The figure, and the rows of ``scores`` that it shows with their ``support``.
    """
    shown = support.iloc[most_frequent(support.to_numpy(), limit)]
    metrics = [name for name in CLASS_SCORES if (scores["metric"] == name).any()]
    table = scores[scores["metric"].isin(metrics) & scores["class"].isin(shown.index)]
    table = table[["class", "metric", "value", "low", "high"]].assign(
        support=table["class"].map(shown)
    )
    figure = new_figure(2.2 * len(metrics) + 1.6, max(2.4, 0.26 * len(shown) + 1.3))
    axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for ax, metric, colour in zip(axes, metrics, PALETTE, strict=False):
        _draw_bars(
            ax,
            table[table["metric"] == metric].set_index("class").reindex(shown.index),
            colour,
        )
        ax.set(title=CLASS_SCORES[metric], xlabel=CLASS_SCORES[metric])
    axes[0].set_yticks(
        range(len(shown)), [f"{shorten(str(name))} ({n})" for name, n in shown.items()]
    )
    axes[0].set_ylim(len(shown) - 0.4, -0.6)
    axes[0].set_ylabel("class (positives)")
    note = f"Black lines: {interval_words(confidence)}. A class without a bar lacks the outcomes that the number needs."
    set_title(
        figure,
        f"Scores by class, {shown_of(len(shown), len(support))}, n = {n_records:,} records",
        note,
    )
    return figure, table.reset_index(drop=True)


def _draw_bars(ax: Axes, rows: pd.DataFrame, colour: str) -> None:
    value, low, high = (
        rows[name].to_numpy(dtype=float) for name in ("value", "low", "high")
    )
    places = np.arange(len(rows))
    ax.barh(places, np.nan_to_num(value), height=0.66, color=colour, alpha=0.75)
    known = np.isfinite(value) & np.isfinite(low) & np.isfinite(high)
    ax.hlines(places[known], low[known], high[known], color=INK, linewidth=1.1)
    for place in places[~np.isfinite(value)]:
        ax.text(0.02, place, "not defined", va="center", fontsize=SMALL, color=MUTED)
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.grid(axis="y", visible=False)


@styled
def plot_class_distribution(
    counts: pd.DataFrame, *, limit: int = 80
) -> tuple[Figure, pd.DataFrame]:
    """Draw how many records each class has, stacked by part where there are several.

    Args:
        counts: ``class`` and a column of counts for each part (``train, valid, test``,
            or one such as ``records``).
        limit: most classes drawn; the most frequent ones are taken.

    Returns:
        The figure, and the rows that it shows with their ``total``.
    """
    parts = [name for name in counts.columns if name != "class"]
    total = counts[parts].sum(axis=1)
    shown = most_frequent(total.to_numpy(), limit)
    table = counts.iloc[shown].assign(total=total.iloc[shown]).reset_index(drop=True)
    figure, ax = _bar_axes(len(table))
    left = np.zeros(len(table))
    for part, colour in zip(parts, PALETTE, strict=False):
        ax.barh(
            range(len(table)),
            table[part],
            left=left,
            color=colour,
            height=0.66,
            label=str(part),
        )
        left = left + table[part].to_numpy()
    _write_counts(ax, left, [f"{n:,}" for n in table["total"]])
    _name_rows(ax, table["class"].tolist())
    ax.set_xlabel("records")
    if len(parts) > 1:
        figure.legend(loc="outside lower right", ncols=len(parts))
    set_title(figure, f"Records by class, {shown_of(len(table), len(counts))}")
    return figure, table


@styled
def plot_label_coverage(coverage: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw what became of the labels of all records: mapped, unmapped, without a label,
    and so on.

    Args:
        coverage: a row a kind: its name in the first column, its number of records in
            the first numeric column.

    Returns:
        The figure, and a table ``kind, records, share``.
    """
    numeric = coverage.select_dtypes("number").columns
    if not len(numeric) or coverage.empty:
        raise EcgnbError(
            f"The coverage table has columns {list(coverage.columns)} and {len(coverage)} rows; a name in the first "
            "column and a column of counts are needed."
        )
    records = coverage[numeric[0]].to_numpy()
    names = coverage[coverage.columns[0]].astype(str).tolist()
    table = pd.DataFrame(
        {"kind": names, "records": records, "share": records / max(1, records.sum())}
    )
    figure, ax = _bar_axes(len(table))
    ax.barh(range(len(table)), table["records"], color=PALETTE[0], height=0.66)
    words = [
        f"{n:,} ({100 * share:.1f} %)"
        for n, share in zip(table["records"], table["share"], strict=True)
    ]
    _write_counts(ax, records, words)
    _name_rows(ax, names)
    ax.set_xlabel("records")
    set_title(figure, f"Label coverage, n = {int(records.sum()):,} records")
    return figure, table


def _bar_axes(rows: int) -> tuple[Figure, Axes]:
    figure = new_figure(7.2, max(1.9, 0.26 * rows + 1.2))
    ax = figure.subplots()
    ax.grid(axis="y", visible=False)
    return figure, ax


def _name_rows(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), [shorten(name) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _write_counts(ax: Axes, ends: np.ndarray, words: Sequence[str]) -> None:
    """Write the words at the ends of the bars, with room for them."""
    longest = max((len(word) for word in words), default=0)
    ax.set_xlim(0, max(1.0, float(np.max(ends, initial=0))) * (1.04 + 0.013 * longest))
    for place, (end, word) in enumerate(zip(ends, words, strict=True)):
        ax.annotate(
            word,
            (end, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
        )
    ax.spines["bottom"].set_color(FAINT)


@styled
def plot_starts(table: pd.DataFrame) -> Figure:
    """Draw macro AUROC and its interval for each way to begin.

    Args:
        table: ``start, macro_auroc, low, high``, a row a way, each followed by its
            baseline (`ecgnb.stages.transfer.compare_starts`).
    """
    figure = new_figure(7.0, 0.55 * len(table) + 1.3)
    axes = figure.subplots()
    for place, (value, low, high) in enumerate(
        table[["macro_auroc", "low", "high"]].to_numpy(dtype=float)
    ):
        colour = MUTED if place % 2 else PALETTE[place // 2]
        axes.plot(
            [low, high],
            [place, place],
            color=colour,
            linewidth=3,
            solid_capstyle="round",
        )
        axes.plot(
            value, place, "o", color=colour, markersize=8, markeredgecolor="white"
        )
        axes.annotate(
            f"{value:.3f} ({low:.3f} to {high:.3f})",
            (1.02, place), xycoords=("axes fraction", "data"), va="center", color=colour,
        )  # fmt: skip
    axes.axvline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_yticks(range(len(table)), table["start"])
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(min(0.45, float(table["low"].min()) - 0.03), 1.0)
    axes.set_xlabel(
        "macro AUROC on the test split, 95 % interval over patients (dashed: chance)"
    )
    axes.grid(axis="y", visible=False)
    figure.suptitle(
        "What the pretrained weights bring; baselines in grey", x=0.01, ha="left"
    )
    return figure
