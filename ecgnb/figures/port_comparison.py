"""Plot of a port: differences of every layer from Keras and from float64."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecgnb.figures.style import (
    INK,
    MUTED,
    PALETTE,
    SMALL,
    new_figure,
    set_title,
    shorten,
    styled,
)

#: Differences below this are drawn here; a logarithmic axis has no zero.
SMALLEST = 1e-9
#: Columns of the table, their labels, marker, marker size and colour.
SERIES = (
    ("reference_vs_float64", "reference vs float64", "|", 6, PALETTE[4]),
    ("port_vs_float64", "port vs float64", "x", 6, PALETTE[2]),
    ("relative", "port vs reference", "o", 5, PALETTE[0]),
)


@styled
def plot_comparison(table: pd.DataFrame, rtol: float, gradient_rtol: float) -> Figure:
    """Draw relative differences on a logarithmic axis, one line per layer in call
    order, the tolerance as a step.

    Args:
        table: of `ecgnb.port.proof.compare.Comparison`.
        rtol: tolerance of layers.
        gradient_rtol: tolerance of input gradients.
    """
    shown = table[table["relative"].notna()].reset_index(drop=True)
    n_rows = len(shown)
    figure = new_figure(8.0, 1.6 + 0.19 * max(n_rows, 4))
    ax = figure.subplots()
    is_gradient = shown["class"] == "input gradient"
    limits = np.where(is_gradient, gradient_rtol, rtol)
    limits = np.append(limits, limits[-1:])  # to the lower edge of the last row
    ax.plot(
        limits,
        np.arange(len(limits)) - 0.5,
        color=MUTED,
        linewidth=1.2,
        linestyle="--",
        drawstyle="steps-pre",
        label="tolerance",
    )
    bad = shown["verdict"] == "DIVERGES"
    largest = _draw_differences(ax, shown, bad.to_numpy())
    ax.set(xscale="log", xlim=(SMALLEST / 2, max(10 * largest, 1e-2)))
    ax.set_ylim(n_rows - 0.4, -0.6)
    # Not matplotlib's own labels: the style does not parse mathematics.
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0e}")
    ax.set_xlabel("largest difference / scale of the layer (max|reference|)")
    ax.set_yticks(range(n_rows), [shorten(name, 34) for name in shown["layer"]])
    ax.tick_params(axis="y", labelsize=SMALL, labelcolor=INK)
    for row in np.flatnonzero(bad):
        ax.get_yticklabels()[row].set(color=PALETTE[1], fontweight="bold")
    ax.grid(True, axis="y", alpha=0.6)
    figure.legend(
        *ax.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=5,
        handletextpad=0.4,
    )
    result = "all agree"
    if bad.any():
        first = shown["layer"][bad].iloc[0]
        result = f"{bad.sum()} of {n_rows} diverge, first {first}"
    set_title(figure, f"Port and reference: {result}")
    return figure


def _draw_differences(ax: Axes, shown: pd.DataFrame, bad: np.ndarray) -> float:
    """Draw all points; return the largest finite difference."""
    rows, largest = np.arange(len(shown)), SMALLEST
    for column, label, marker, size, colour in SERIES:
        values = shown[column].to_numpy(dtype=np.float64)
        largest = max(largest, np.max(values[np.isfinite(values)], initial=0.0))
        x = _drawable(values, largest)
        (points,) = ax.plot(x, rows, marker, color=colour, label=label)
        points.set(markersize=size, markeredgewidth=1.2)
    if bad.any():
        values = shown["relative"].to_numpy(dtype=np.float64)[bad]
        x = _drawable(values, largest)
        ax.plot(x, rows[bad], "o", color=PALETTE[1], markersize=6, label="diverges")
    return float(largest)


def _drawable(values: np.ndarray, largest: float) -> np.ndarray:
    """Return the values for a logarithmic axis: infinite ones beyond the largest."""
    return np.maximum(np.where(np.isfinite(values), values, 10 * largest), SMALLEST)
