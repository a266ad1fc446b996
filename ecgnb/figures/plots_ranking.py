"""Plots of ranking: ROC and precision-recall curves, histograms of probabilities."""

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
from ecgnb.figures import FIGURES
from ecgnb.figures.style import (
    FAINT,
    INK,
    MUTED,
    PALETTE,
    Drawing,
    class_styles,
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

#: Classes that get a colour and a line in the legend of one figure.
MAX_LINES = 10
#: False positive rates at which the average ROC curve is taken.
_GRID = np.linspace(0.0, 1.0, 201)

Points = tuple[np.ndarray, np.ndarray, np.ndarray]


# scikit-learn takes a second to import, and every figure imports this module.
def _roc_points(truth: np.ndarray, scores: np.ndarray) -> Points:
    from sklearn.metrics import roc_curve

    return roc_curve(truth, scores)


def _precision_recall_points(truth: np.ndarray, scores: np.ndarray) -> Points:
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(
        truth, scores, drop_intermediate=True
    )
    # The last point, recall 0, is that of an infinite threshold.
    return recall, precision, np.append(thresholds, np.inf)


@dataclass(frozen=True)
class Curve:
    """One kind of curve.

    Attributes:
        metric: the area under it, as `bootstrap_per_class` names it.
        title: of the figure.
        legend: title of the legend.
        x: column of the horizontal axis.
        y: column of the vertical axis.
        x_label: label of the horizontal axis.
        y_label: label of the vertical axis.
        points: from truth and scores of a class to x, y and thresholds.
        drawstyle: of matplotlib.
    """

    metric: str
    title: str
    legend: str
    x: str
    y: str
    x_label: str
    y_label: str
    points: Callable[[np.ndarray, np.ndarray], Points]
    drawstyle: str


_ROC = Curve(
    metric="auroc",
    title="ROC curves",
    legend="class: AUROC (interval)",
    x="false_positive_rate",
    y="true_positive_rate",
    x_label="1 - specificity (false positive rate)",
    y_label="sensitivity (true positive rate)",
    points=_roc_points,
    drawstyle="default",
)
_PRECISION_RECALL = Curve(
    metric="average_precision",
    title="Precision-recall curves",
    legend="class: average precision (interval)",
    x="recall",
    y="precision",
    x_label="recall (sensitivity)",
    y_label="precision (positive predictive value)",
    points=_precision_recall_points,
    drawstyle="steps-post",  # average precision is the area under steps
)


def _one_row_per_class(points: pd.DataFrame) -> pd.DataFrame:
    columns = ["class", "auroc", "average_precision", "low", "high", "prevalence"]
    return points.filter(columns).drop_duplicates("class", ignore_index=True)


@FIGURES.register(
    "roc",
    caption="ROC curves on the test split.",
    order=60,
    summary=_one_row_per_class,
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
) -> Drawing:
    """Draw the ROC curve of each class against the rest, their average, and chance.

    With more than `MAX_LINES` classes the most frequent ones are coloured and named,
    the others are thin grey lines.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        classes: names of the columns.
        task: ``"multiclass"`` or ``"multilabel"``.
        intervals: ``class, metric, value, low, high``, see `bootstrap_per_class`.
        confidence: coverage of these intervals, for the title.

    Returns:
        The figure, and every point drawn: ``class, threshold, false_positive_rate,
        true_positive_rate, auroc, low, high``.

    Raises:
        EcgnbError, LabelError, ConfigError: see `check_inputs`.
    """
    inputs = check_inputs(targets, probabilities, classes, task)
    aurocs, _ = class_areas(inputs.truth, inputs.probabilities)
    figure, ax, table = _draw_curves(inputs, _ROC, aurocs, intervals, confidence)
    curves = [
        np.interp(_GRID, rows[_ROC.x], rows[_ROC.y])
        for _, rows in table.groupby("class", sort=False)
    ]
    if len(curves) > 1:
        average = f"average of {len(curves)} classes: {mean_defined(aurocs):.3f}"
        ax.plot(_GRID, np.mean(curves, axis=0), color=INK, linewidth=2.2, label=average)
    ax.plot(
        [0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.2, label="chance: 0.5"
    )
    _draw_legend(ax, _ROC.legend)
    return figure, table


@FIGURES.register(
    "precision_recall",
    caption="Precision-recall curves on the test split.",
    order=70,
    summary=_one_row_per_class,
)
@styled
def plot_precision_recall(
    targets: Any,
    probabilities: Any,
    classes: Sequence[str],
    task: str,
    *,
    intervals: pd.DataFrame | None = None,
    confidence: float = 0.95,
) -> Drawing:
    """Draw the precision-recall curve of each class against the rest, and the
    prevalence that chance would reach.

    Arguments and errors are those of `plot_roc`.

    Returns:
        The figure, and every point drawn: ``class, threshold, recall, precision,
        average_precision, low, high, prevalence``.
    """
    inputs = check_inputs(targets, probabilities, classes, task)
    _, areas = class_areas(inputs.truth, inputs.probabilities)
    figure, ax, table = _draw_curves(
        inputs, _PRECISION_RECALL, areas, intervals, confidence
    )
    prevalence = pd.Series(inputs.truth.mean(axis=0), index=inputs.classes)
    table["prevalence"] = table["class"].map(prevalence)
    for name, style in class_styles(_named_classes(inputs)).items():
        ax.axhline(prevalence[name], color=style["color"], linestyle=":", linewidth=1.0)
    label = "prevalence of the class (chance)"
    ax.plot([], [], color=MUTED, linestyle=":", linewidth=1.0, label=label)
    _draw_legend(ax, _PRECISION_RECALL.legend)
    return figure, table


def _named_classes(inputs: Inputs) -> list[str]:
    """Return the classes that get a colour and a name."""
    frequent = most_frequent(inputs.truth.sum(axis=0), MAX_LINES)
    return [inputs.classes[k] for k in frequent]


def _curve_points(
    inputs: Inputs, curve: Curve, areas: np.ndarray, intervals: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the points of every class that has positives and negatives."""
    tables = []
    for k, name in enumerate(inputs.classes):
        truth = inputs.truth[:, k]
        if truth.all() or not truth.any():
            continue
        x, y, thresholds = curve.points(truth, inputs.probabilities[:, k])
        points = {"class": name, "threshold": thresholds, curve.x: x, curve.y: y}
        tables.append(pd.DataFrame({**points, curve.metric: areas[k]}))
    if not tables:
        columns = ["class", "threshold", curve.x, curve.y, curve.metric]
        tables.append(pd.DataFrame(columns=columns))
    table = pd.concat(tables, ignore_index=True).assign(low=np.nan, high=np.nan)
    if intervals is not None:
        rows = intervals[intervals["metric"] == curve.metric].set_index("class")
        for bound in ("low", "high"):
            table[bound] = table["class"].map(rows[bound])
    return table


def _draw_curves(
    inputs: Inputs,
    curve: Curve,
    areas: np.ndarray,
    intervals: pd.DataFrame | None,
    confidence: float,
) -> tuple[Figure, Axes, pd.DataFrame]:
    """Draw the curves of all classes, without legend; return their points too."""
    table = _curve_points(inputs, curve, areas, intervals)
    figure = new_figure(8.3, 4.7)
    ax = figure.subplots()
    n_classes = len(inputs.classes)
    styles = class_styles(_named_classes(inputs))
    for name, rows in table.groupby("class", sort=False):
        if name not in styles:
            _draw_line(ax, curve, rows, color=FAINT, linewidth=0.8)
    if len(styles) < n_classes:
        label = f"{n_classes - len(styles)} other classes"
        ax.plot([], [], color=FAINT, linewidth=0.8, label=label)
    for name, style in styles.items():
        rows = table[table["class"] == name]
        area = "not defined"
        if len(rows):
            area = format_interval(*rows[[curve.metric, "low", "high"]].iloc[0])
        _draw_line(ax, curve, rows, label=f"{shorten(name, 22)}: {area}", **style)
    limits = (-0.01, 1.01)
    ax.set(xlabel=curve.x_label, ylabel=curve.y_label)
    ax.set(xlim=limits, ylim=limits, aspect="equal")
    shown = classes_text(len(styles), n_classes)
    title = f"{curve.title}, {shown}, n = {len(inputs.truth):,} records"
    note = "" if intervals is None else f"In brackets: {interval_text(confidence)}."
    set_title(figure, title, note)
    return figure, ax, table


def _draw_line(ax: Axes, curve: Curve, rows: pd.DataFrame, **look: Any) -> None:
    ax.plot(rows[curve.x], rows[curve.y], drawstyle=curve.drawstyle, **look)


def _draw_legend(ax: Axes, title: str) -> None:
    corner = (1.02, 1.02)  # right of the axes
    ax.legend(loc="upper left", bbox_to_anchor=corner, title=title, alignment="left")


def _mean_probabilities(bars: pd.DataFrame) -> pd.DataFrame:
    """Return one row per class: the mean probability of its positives and negatives."""
    middles = (bars["lower"] + bars["upper"]) / 2
    weighted = middles * bars["share"]
    means = weighted.groupby([bars["class"], bars["group"]], sort=False).sum()
    return means.unstack().rename_axis(columns=None)


@FIGURES.register(
    "score_histograms",
    caption="Probabilities of positives and negatives on the test split.",
    order=100,
    summary=_mean_probabilities,
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
) -> Drawing:
    """Draw histograms of the probabilities of each class's positives and negatives.

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
        EcgnbError, LabelError, ConfigError: see `check_inputs`.
    """
    inputs = check_inputs(targets, probabilities, classes, task)
    shown = most_frequent(inputs.truth.sum(axis=0), limit)
    figure, axes = panels(len(shown), columns=3, width=2.9, height=2.1)
    tables = []
    for ax, k in zip(axes, shown, strict=True):
        name, positive = inputs.classes[k], inputs.truth[:, k]
        groups = {"negatives": ~positive, "positives": positive}
        for (group, members), colour in zip(groups.items(), PALETTE, strict=False):
            values = inputs.probabilities[members, k]
            tables.append(_draw_histogram(ax, name, group, values, colour))
        if thresholds is not None and len(thresholds):
            label = f"threshold {thresholds[k]:.2g}"
            ax.axvline(
                thresholds[k], color=INK, linestyle=":", linewidth=1.2, label=label
            )
        ax.set(title=shorten(name, 26), xlim=(0, 1))
        ax.set(xlabel="probability", ylabel="% of group")
        ax.legend(loc="upper center")
        ax.margins(y=0.25)
    counted = classes_text(len(shown), len(inputs.classes))
    title = f"Probabilities by true class, {counted}, n = {len(inputs.truth):,} records"
    set_title(figure, title, "In brackets: number of records of the group.")
    return figure, pd.concat(tables, ignore_index=True)


def _draw_histogram(
    ax: Axes, name: str, group: str, probabilities: np.ndarray, colour: str
) -> pd.DataFrame:
    """Draw the histogram of a class's positives or negatives; return its bars."""
    count, edges = np.histogram(probabilities, np.linspace(0, 1, 21))  # bins of 0.05
    share = count / max(1, count.sum())
    label = f"{group} ({count.sum()})"
    ax.stairs(100 * share, edges, color=colour, fill=True, alpha=0.25)
    ax.stairs(100 * share, edges, color=colour, linewidth=1.3, label=label)
    bars = {
        "class": name,
        "group": group,
        "lower": edges[:-1],
        "upper": edges[1:],
        "count": count,
        "share": share,
    }
    return pd.DataFrame(bars)
