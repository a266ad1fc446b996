"""Figures of how well scores rank: ROC and precision-recall curves, and the scores of
positives against negatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecgnb.evaluation.arrays import Inputs, check_inputs
from ecgnb.evaluation.ranking import class_areas, mean_defined
from ecgnb.figures.style import (
    FAINT,
    INK,
    MUTED,
    PALETTE,
    class_styles,
    interval_words,
    most_frequent,
    new_figure,
    panels,
    set_title,
    shorten,
    shown_of,
    styled,
    with_interval,
)

#: Classes that get a colour and a line in the legend of one figure.
MAX_LINES = 10
#: False positive rates at which the average ROC curve is taken.
_GRID = np.linspace(0.0, 1.0, 201)


def _roc_points(
    truth: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from sklearn.metrics import roc_curve

    return roc_curve(truth, scores)


def _pr_points(
    truth: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(
        truth, scores, drop_intermediate=True
    )
    return (
        recall,
        precision,
        np.append(thresholds, np.inf),
    )  # the last point, recall 0, calls nobody


@dataclass(frozen=True)
class _Kind:
    """One kind of curve: its number, its axes and how its points come about."""

    metric: str
    name: str
    title: str
    x: str
    y: str
    labels: tuple[str, str]
    points: Callable[
        [np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]
    ]


_ROC = _Kind(
    metric="auroc",
    name="AUROC",
    title="ROC curves",
    x="false_positive_rate",
    y="true_positive_rate",
    labels=(
        "1 - specificity (false positive rate)",
        "sensitivity (true positive rate)",
    ),
    points=_roc_points,
)
_PR = _Kind(
    metric="average_precision",
    name="average precision",
    title="Precision-recall curves",
    x="recall",
    y="precision",
    labels=("recall (sensitivity)", "precision (positive predictive value)"),
    points=_pr_points,
)


@styled
def plot_roc(
    targets: Any,
    probabilities: Any,
    classes: Sequence[str],
    task: str,
    *,
    intervals: pd.DataFrame | None = None,
    confidence: float = 0.95,
) -> tuple[Figure, pd.DataFrame]:
    """Draw the ROC curve of each class against the rest, their average, and chance.

    With more than `MAX_LINES` classes the most frequent ones are coloured and named,
    the others are thin grey lines.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        classes: names of the columns.
        task: ``"multiclass"`` or ``"multilabel"``.
        intervals: ``class, metric, value, low, high``, as `bootstrap_per_class` returns
            it.
        confidence: coverage of these intervals, for the title.

    Returns:
        The figure, and every point drawn: ``class, threshold, false_positive_rate,
        true_positive_rate, auroc, low, high``.

    Raises:
        EcgnbError, LabelError, ConfigError: as `check_inputs` tells.
    """
    inputs = check_inputs(targets, probabilities, list(classes), task)
    figure, ax, table = _draw(inputs, _ROC, intervals, confidence)
    curves = [rows for _, rows in table.groupby("class", sort=False)]
    if len(curves) > 1:
        mean = np.mean(
            [np.interp(_GRID, rows[_ROC.x], rows[_ROC.y]) for rows in curves], axis=0
        )
        macro = mean_defined(class_areas(inputs.truth, inputs.probabilities)[0])
        ax.plot(
            _GRID,
            mean,
            color=INK,
            linewidth=2.2,
            label=f"average of {len(curves)} classes: {macro:.3f}",
        )
    ax.plot(
        [0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.2, label="chance: 0.5"
    )
    _legend(ax, "class: AUROC (interval)")
    return figure, table


@styled
def plot_precision_recall(
    targets: Any,
    probabilities: Any,
    classes: Sequence[str],
    task: str,
    *,
    intervals: pd.DataFrame | None = None,
    confidence: float = 0.95,
) -> tuple[Figure, pd.DataFrame]:
    """Draw the precision-recall curve of each class against the rest, and the
    prevalence that chance would reach.

    Arguments and errors are those of `plot_roc`.

    Returns:
        The figure, and every point drawn: ``class, threshold, recall, precision,
        average_precision, low, high, prevalence``.
    """
    inputs = check_inputs(targets, probabilities, list(classes), task)
    figure, ax, table = _draw(inputs, _PR, intervals, confidence)
    prevalence = pd.Series(inputs.truth.mean(axis=0), index=inputs.classes)
    table["prevalence"] = table["class"].map(prevalence)
    for name, style in class_styles(_named(inputs)).items():
        ax.axhline(prevalence[name], color=style["color"], linestyle=":", linewidth=1.0)
    ax.plot(
        [],
        [],
        color=MUTED,
        linestyle=":",
        linewidth=1.0,
        label="prevalence of the class (chance)",
    )
    _legend(ax, "class: average precision (interval)")
    return figure, table


def _named(inputs: Inputs) -> list[str]:
    """Return the classes that get a colour and a name."""
    return [
        inputs.classes[k] for k in most_frequent(inputs.truth.sum(axis=0), MAX_LINES)
    ]


def _draw(
    inputs: Inputs, kind: _Kind, intervals: pd.DataFrame | None, confidence: float
) -> tuple[Figure, Axes, pd.DataFrame]:
    table = _curve_table(inputs, kind, intervals)
    figure = new_figure(8.3, 4.7)
    ax = figure.subplots()
    named = _named(inputs)
    curves = {str(name): rows for name, rows in table.groupby("class", sort=False)}
    step = (
        "steps-post" if kind is _PR else "default"
    )  # average precision is the area under steps
    for name in [name for name in curves if name not in named]:
        ax.plot(
            curves[name][kind.x],
            curves[name][kind.y],
            color=FAINT,
            linewidth=0.8,
            drawstyle=step,
        )
    if len(named) < len(inputs.classes):
        ax.plot(
            [],
            [],
            color=FAINT,
            linewidth=0.8,
            label=f"{len(inputs.classes) - len(named)} other classes",
        )
    for name, style in class_styles(named).items():
        rows = curves.get(name)
        value, low, high = (
            (np.nan,) * 3
            if rows is None
            else rows[[kind.metric, "low", "high"]].iloc[0]
        )
        x, y = (
            (np.zeros(0),) * 2
            if rows is None
            else (rows[kind.x].to_numpy(), rows[kind.y].to_numpy())
        )
        ax.plot(
            x,
            y,
            drawstyle=step,
            label=f"{shorten(name, 22)}: {with_interval(value, low, high)}",
            **style,
        )
    ax.set(
        xlabel=kind.labels[0],
        ylabel=kind.labels[1],
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
    )
    title = f"{kind.title}, {shown_of(len(named), len(inputs.classes))}, n = {len(inputs.truth):,} records"
    set_title(
        figure,
        title,
        "" if intervals is None else f"In brackets: {interval_words(confidence)}.",
    )
    return figure, ax, table


def _legend(ax: Axes, title: str) -> None:
    ax.legend(
        loc="upper left", bbox_to_anchor=(1.02, 1.02), title=title, alignment="left"
    )


def _curve_table(
    inputs: Inputs, kind: _Kind, intervals: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the points of every class that has positives and negatives."""
    values = class_areas(inputs.truth, inputs.probabilities)[0 if kind is _ROC else 1]
    known = pd.DataFrame(columns=["low", "high"], dtype=float)
    if intervals is not None:
        known = intervals[intervals["metric"] == kind.metric].set_index("class")[
            ["low", "high"]
        ]
    tables = []
    for k, name in enumerate(inputs.classes):
        truth = inputs.truth[:, k]
        if truth.all() or not truth.any():
            continue
        x, y, thresholds = kind.points(truth, inputs.probabilities[:, k])
        low, high = known.loc[name] if name in known.index else (np.nan, np.nan)
        points = {"class": name, "threshold": thresholds, kind.x: x, kind.y: y}
        tables.append(
            pd.DataFrame({**points, kind.metric: values[k], "low": low, "high": high})
        )
    columns = ["class", "threshold", kind.x, kind.y, kind.metric, "low", "high"]
    return (
        pd.concat(tables, ignore_index=True)
        if tables
        else pd.DataFrame(columns=columns)
    )


@styled
def plot_score_histograms(
    targets: Any,
    probabilities: Any,
    classes: Sequence[str],
    task: str,
    *,
    thresholds: Sequence[float] | None = None,
    limit: int = 12,
) -> tuple[Figure, pd.DataFrame]:
    """Draw for each class how the probabilities of its positives and of its negatives
    are spread.

    Each group is drawn as shares of its own size, so that rare classes can be seen.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        classes: names of the columns.
        task: ``"multiclass"`` or ``"multilabel"``.
        thresholds: ``[n_classes]``; drawn as lines.
        limit: most classes drawn; the most frequent ones are taken.

    Returns:
        The figure, and its bars: ``class, group, lower, upper, count, share``.

    Raises:
        EcgnbError, LabelError, ConfigError: as `check_inputs` tells.
    """
    inputs = check_inputs(targets, probabilities, list(classes), task)
    shown = most_frequent(inputs.truth.sum(axis=0), limit)
    figure, axes = panels(len(shown), columns=3, width=2.9, height=2.1)
    tables = []
    for ax, k in zip(axes, shown, strict=True):
        table = _histogram(inputs, k)
        for (group, rows), colour in zip(
            table.groupby("group", sort=False), PALETTE, strict=False
        ):
            edges = np.append(rows["lower"], rows["upper"].iloc[-1])
            ax.stairs(100 * rows["share"], edges, color=colour, fill=True, alpha=0.25)
            ax.stairs(
                100 * rows["share"],
                edges,
                color=colour,
                linewidth=1.3,
                label=f"{group} ({rows['count'].sum()})",
            )
        if thresholds is not None and len(thresholds):
            ax.axvline(
                float(thresholds[k]),
                color=INK,
                linestyle=":",
                linewidth=1.2,
                label=f"threshold {thresholds[k]:.2g}",
            )
        ax.set(
            title=shorten(inputs.classes[k], 26),
            xlim=(0, 1),
            ylabel="% of group",
            xlabel="probability",
        )
        ax.legend(loc="upper center")
        ax.margins(y=0.25)
        tables.append(table)
    title = f"Probabilities by true class, {shown_of(len(shown), len(inputs.classes))}, n = {len(inputs.truth):,} records"
    set_title(figure, title, "In brackets: number of records of the group.")
    return figure, pd.concat(tables, ignore_index=True)


def _histogram(inputs: Inputs, k: int, bins: int = 20) -> pd.DataFrame:
    edges = np.linspace(0, 1, bins + 1)
    tables = []
    for group, members in (
        ("negatives", ~inputs.truth[:, k]),
        ("positives", inputs.truth[:, k]),
    ):
        count = np.histogram(inputs.probabilities[members, k], edges)[0]
        columns = {
            "class": inputs.classes[k],
            "group": group,
            "lower": edges[:-1],
            "upper": edges[1:],
        }
        tables.append(
            pd.DataFrame(
                {**columns, "count": count, "share": count / max(1, count.sum())}
            )
        )
    return pd.concat(tables, ignore_index=True)
