"""Attributions on ECG paper: bubbles on samples that are for or against a class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ecgnb.core.errors import EcgnbError
from ecgnb.data.recording import Recording
from ecgnb.evaluation.ranking import ratio
from ecgnb.figures.paper import plot_ecg
from ecgnb.figures.paper_layout import MM_PER_MV, MM_PER_S
from ecgnb.figures.paper_page import FOOTER_MM, MARGIN_MM
from ecgnb.figures.style import MUTED, PALETTE, SMALL, Drawing, shorten, styled

#: Attributions up to this share of the largest are left out (Gumpfer et al. 2024).
THRESHOLD = 0.2
#: Area of the largest bubble in square points.
_LARGEST_AREA = 60.0
_ALPHA = 0.6
_FOR, _AGAINST = PALETTE[1], PALETTE[0]


def positive_relevance(
    attribution: np.ndarray, threshold: float = THRESHOLD
) -> np.ndarray:
    """Return the attributions for a class, scaled to 0..1, without the weak ones.

    The recipe of Gumpfer et al. 2024 (AIME): negative values become 0, the rest is
    divided by the record's largest over all leads, and what is then not above the
    threshold becomes 0.

    Args:
        attribution: ``[..., n_leads, n_samples]``; each record has its own scale.
        threshold: between 0 and 1.

    Returns:
        float64 of the same shape.

    >>> positive_relevance(np.array([[4.0, -8.0], [0.8, 1.0]])).tolist()
    [[1.0, 0.0], [0.0, 0.25]]
    """
    positive = np.clip(np.asarray(attribution, dtype=np.float64), 0.0, None)
    largest = positive.max(axis=(-2, -1), keepdims=True)  # of each record
    share = ratio(positive, largest, undefined=0.0)
    return np.where(share > threshold, share, 0.0)


@styled
def plot_attribution(
    recording: Recording,
    attribution: np.ndarray,
    *,
    threshold: float = THRESHOLD,
    probabilities: Mapping[str, float] | None = None,
    predicted: str | None = None,
    truth: str | None = None,
    start: float = 0.0,
    target: str = "the class",
) -> Drawing:
    """Draw a recording on standard paper with bubbles on the samples of an attribution.

    A bubble's area is its share of the record's largest absolute attribution; its
    colour shows whether the sample is for the class or against it. Attributions over
    time alone (Grad-CAM) are drawn as shades under all leads.

    Args:
        recording: what was explained, in mV.
        attribution: ``[n_leads, n_samples]`` or ``[n_samples]``.
        threshold: only larger shares are drawn.
        probabilities: as for `plot_ecg`, like the next three.
        predicted: the classes called.
        truth: the true classes.
        start: second at which the page begins.
        target: name of the class that was explained.

    Returns:
        The figure and the table of `plot_ecg` with ``positive`` and ``negative``: each
        strip's number of bubbles.

    Raises:
        EcgnbError: the attribution has another shape than the signal.
    """
    shape = recording.signal.shape
    values = np.nan_to_num(np.asarray(attribution, dtype=np.float64))
    if values.ndim > 1 and values.shape != shape:
        hint = " Turn it: attribution.T." if values.T.shape == shape else ""
        raise EcgnbError(
            f"The attribution has shape {values.shape}, the signal {shape}.{hint}"
        )
    figure, table = plot_ecg(
        recording,
        probabilities=probabilities,
        predicted=predicted,
        truth=truth,
        start=start,
        overlay=values if values.ndim == 1 else None,
    )
    if values.ndim == 1:
        return figure, table
    shares = values / (np.abs(values).max(initial=0.0) or 1.0)
    counts = []
    for _, strip in table.iterrows():
        lead = recording.leads.index(strip["lead"])
        first = round(strip["start_s"] * recording.fs)
        stop = round(strip["stop_s"] * recording.fs)
        shown = lead, slice(first, stop)
        signal = recording.signal[shown]
        counts.append(_draw_bubbles(figure, strip, signal, shares[shown], threshold))
    _draw_legend(figure, threshold, target)
    table["positive"], table["negative"] = np.reshape(counts, (-1, 2)).T
    return figure, table


def _draw_bubbles(
    figure: Figure,
    strip: pd.Series,
    millivolts: np.ndarray,
    shares: np.ndarray,
    threshold: float,
) -> tuple[int, int]:
    """Draw a strip's bubbles, the largest on top; return how many are for the class and
    against it.
    """
    duration = strip["stop_s"] - strip["start_s"]
    seconds = np.linspace(0.0, duration, len(shares), endpoint=False)
    x = strip["x_mm"] + MM_PER_S * seconds  # in mm
    y = strip["y_mm"] + MM_PER_MV * (millivolts - strip["offset_mv"])  # in mm
    sizes = np.abs(shares)
    shown = np.flatnonzero((sizes > threshold) & np.isfinite(y))
    shown = shown[np.argsort(sizes[shown], kind="stable")]  # largest last, on top
    positive = shares[shown] > 0
    figure.axes[0].scatter(
        x[shown],
        y[shown],
        s=_LARGEST_AREA * sizes[shown],
        c=np.where(positive, _FOR, _AGAINST),
        alpha=_ALPHA,
        linewidths=0,
        zorder=1.8,  # under the trace
        gid=f"bubbles {strip['lead']}",
    )
    n_positive = int(positive.sum())
    return n_positive, len(shown) - n_positive


def _draw_legend(figure: Figure, threshold: float, target: str) -> None:
    ax = figure.axes[0]
    labels = {
        _FOR: f"raises {shorten(target, 24)}",
        _AGAINST: f"lowers it (above {100 * threshold:g} % of the largest)",
    }
    dots = []
    for colour, label in labels.items():
        dot = Line2D([], [], color=colour, label=label, linestyle="", marker="o")
        dot.set(markersize=6, alpha=_ALPHA, markeredgewidth=0)
        dots.append(dot)
    ax.legend(
        handles=dots,
        loc="center right",
        bbox_to_anchor=(ax.get_xlim()[1] - MARGIN_MM, FOOTER_MM / 2),
        bbox_transform=ax.transData,
        ncols=2,
        fontsize=SMALL,
        labelcolor=MUTED,
        handletextpad=0.2,
        columnspacing=1.2,
        borderaxespad=0,
        borderpad=0.1,
        frameon=True,  # readable where the page's notes are long
        edgecolor="none",
        framealpha=1,
    )
