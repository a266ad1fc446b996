"""The figure of a comparison: every layer in call order, its difference from the
reference and both from float64.
"""

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

#: Differences below this are drawn here; a logarithmic axis has no place for zero.
SMALLEST = 1e-9
#: Columns of the table, their words, marker and colour.
SERIES = (
    ("reference_vs_float64", "reference vs float64", "|", PALETTE[4]),
    ("port_vs_float64", "port vs float64", "x", PALETTE[2]),
    ("relative", "port vs reference", "o", PALETTE[0]),
)


@styled
def plot_comparison(table: pd.DataFrame, rtol: float, gradient_rtol: float) -> Figure:
    """Draw relative differences on a logarithmic axis, a line a layer, the tolerance as
    a step.

    Args:
        table: of `ecgnb.port.proof.compare.Comparison`.
        rtol: tolerance of layers.
        gradient_rtol: tolerance of input gradients.
    """
    shown = table[table["relative"].notna()].reset_index(drop=True)
    figure = new_figure(8.0, 1.6 + 0.19 * max(len(shown), 4))
    axes = figure.subplots()
    limits = np.where(shown["class"] == "input gradient", gradient_rtol, rtol)
    largest = _draw(axes, shown, limits)
    axes.set(
        xscale="log",
        xlim=(SMALLEST / 2, max(10 * largest, 1e-2)),
        ylim=(len(shown) - 0.4, -0.6),
    )
    axes.xaxis.set_major_formatter(
        lambda value, _: f"{value:.0e}"
    )  # the house's style sets no mathematics
    axes.set_xlabel("largest difference / scale of the layer (max|reference|)")
    axes.set_yticks(range(len(shown)), [shorten(name, 34) for name in shown["layer"]])
    bad = shown["verdict"] == "DIVERGES"
    for tick, wrong in zip(axes.get_yticklabels(), bad, strict=True):
        tick.set(
            fontsize=SMALL,
            color=PALETTE[1] if wrong else INK,
            fontweight="bold" if wrong else "normal",
        )
    axes.grid(True, axis="y", alpha=0.6)
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=5,
        handletextpad=0.4,
    )
    words = (
        f"{int(bad.sum())} of {len(shown)} diverge, first {shown['layer'][bad].iloc[0]}"
        if bad.any()
        else "all agree"
    )
    set_title(figure, f"Port and reference: {words}")
    return figure


def _draw(axes: Axes, shown: pd.DataFrame, limits: np.ndarray) -> float:
    """Draw all points and the tolerance; return the largest finite difference."""
    rows, largest = np.arange(len(shown)), SMALLEST
    edges = np.append(rows - 0.5, len(rows) - 0.5)
    axes.plot(
        np.append(limits, limits[-1:]),
        edges,
        color=MUTED,
        lw=1.2,
        ls="--",
        drawstyle="steps-pre",
        label="tolerance",
    )
    for column, words, marker, colour in SERIES:
        values = shown[column].to_numpy(dtype=np.float64)
        finite = values[np.isfinite(values)]
        largest = max(largest, float(finite.max(initial=0.0)))
        drawn = np.clip(
            np.where(np.isfinite(values), values, 10 * largest), SMALLEST, None
        )
        axes.plot(
            drawn,
            rows,
            marker,
            color=colour,
            ms=5 if marker == "o" else 6,
            label=words,
            mew=1.2,
            ls="none",
        )
    bad = (shown["verdict"] == "DIVERGES").to_numpy()
    if bad.any():
        values = shown["relative"].to_numpy(dtype=np.float64)[bad]
        values = np.clip(
            np.where(np.isfinite(values), values, 10 * largest), SMALLEST, None
        )
        axes.plot(
            values, rows[bad], "o", color=PALETTE[1], ms=6, label="diverges", ls="none"
        )
    return largest
