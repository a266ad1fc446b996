"""The figure of a transfer comparison: each way to begin a training, with its interval, beside its baseline."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ecgnb.evaluation.style import MUTED, PALETTE, new_figure, styled


@styled
def plot_starts(table: pd.DataFrame) -> Figure:
    """Draw macro AUROC and its interval for each way to begin.

    Args:
        table: ``start, macro_auroc, low, high``, a row a way, each followed by its baseline
            (`ecgnb.stages.transfer.compare_starts`).
    """
    figure = new_figure(7.0, 0.55 * len(table) + 1.3)
    axes = figure.subplots()
    for place, (value, low, high) in enumerate(table[["macro_auroc", "low", "high"]].to_numpy(dtype=float)):
        colour = MUTED if place % 2 else PALETTE[place // 2]
        axes.plot([low, high], [place, place], color=colour, linewidth=3, solid_capstyle="round")
        axes.plot(value, place, "o", color=colour, markersize=8, markeredgecolor="white")
        axes.annotate(
            f"{value:.3f} ({low:.3f} to {high:.3f})",
            (1.02, place), xycoords=("axes fraction", "data"), va="center", color=colour,
        )  # fmt: skip
    axes.axvline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_yticks(range(len(table)), table["start"])
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(min(0.45, float(table["low"].min()) - 0.03), 1.0)
    axes.set_xlabel("macro AUROC on the test split, 95 % interval over patients (dashed: chance)")
    axes.grid(axis="y", visible=False)
    figure.suptitle("What the pretrained weights bring; baselines in grey", x=0.01, ha="left")
    return figure
