"""Attributions on electrocardiogram paper."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ecgnb.core.errors import EcgnbError
from ecgnb.data.recording import Recording
from ecgnb.figures.paper import plot_ecg
from ecgnb.figures.paper_layout import MM_PER_MV, MM_PER_S
from ecgnb.figures.paper_page import FOOTER_MM, MARGIN_MM
from ecgnb.figures.style import MUTED, PALETTE, SMALL, shorten, styled

#: Attributions up to this share of the largest are left out (Gumpfer et al. 2024).
THRESHOLD = 0.2
#: Area of the largest bubble in square points.
_LARGEST = 60.0
_ALPHA = 0.6
_FOR, _AGAINST = PALETTE[1], PALETTE[0]


def positive_relevance(
    attribution: np.ndarray, threshold: float = THRESHOLD
) -> np.ndarray:
    """Return what speaks for a class, on a scale from 0 to 1, without its weak parts.

    The recipe of Gumpfer et al. 2024 (AIME): negative values become 0, the rest is
    divided by the record's largest over all leads, and what is then not above the
    threshold becomes 0.

    Args:
        attribution: ``[..., n_leads, n_samples]``; each record is scaled on its own.
        threshold: between 0 and 1.

    Returns:
        float64 of the same shape.

    >>> positive_relevance(np.array([[4.0, -8.0], [0.8, 1.0]])).tolist()
    [[1.0, 0.0], [0.0, 0.25]]
    """
    kept = np.clip(np.asarray(attribution, dtype=np.float64), 0.0, None)
    largest = kept.max(axis=(-2, -1), keepdims=True)
    share = np.divide(kept, largest, out=np.zeros_like(kept), where=largest > 0)
    return np.where(share > threshold, share, 0.0)


@styled
def plot_attribution(
    recording: Recording | np.ndarray,
    attribution: np.ndarray,
    *,
    fs: float | None = None,
    leads: Sequence[str] = (),
    threshold: float = THRESHOLD,
    probabilities: Mapping[str, float] | None = None,
    predicted: str | None = None,
    truth: str | None = None,
    start: float = 0.0,
    target: str = "the class",
) -> tuple[Figure, pd.DataFrame]:
    """Draw a recording on standard paper with bubbles on the samples that an
    explanation names.

    A bubble's area is its share of the record's largest absolute attribution; its
    colour tells whether the sample speaks for the class or against it. Attributions
    over time alone (Grad-CAM) are drawn as shades under all leads.

    Args:
        recording: what was explained, in mV; or its signal ``[n_leads, n_samples]``
            alone, with ``fs`` and ``leads``.
        attribution: ``[n_leads, n_samples]`` or ``[n_samples]``.
        fs: samples a second, for a signal alone.
        leads: names of the signal's rows.
        threshold: smallest share that is drawn, left out itself.
        probabilities: as for `plot_ecg`, like the next three.
        predicted: the classes called.
        truth: the true classes.
        start: second at which the page begins.
        target: name of the class that was explained.

    Returns:
        The figure and the table of `plot_ecg` with ``positive`` and ``negative``: each
        strip's number of bubbles.

    Raises:
        EcgnbError: the attribution has another shape than the signal, or ``fs`` or
            ``leads`` are missing.
    """
    recording = _recording(recording, fs, leads)
    values = np.nan_to_num(np.asarray(attribution, dtype=np.float64))
    draw = functools.partial(
        plot_ecg,
        recording,
        probabilities=probabilities,
        predicted=predicted,
        truth=truth,
        start=start,
    )
    if values.ndim == 1:
        return draw(overlay=values)
    if values.shape != recording.signal.shape:
        turned = (
            " Turn it: attribution.T."
            if values.T.shape == recording.signal.shape
            else ""
        )
        raise EcgnbError(
            f"The attribution has shape {values.shape}, the signal {recording.signal.shape}.{turned}"
        )
    figure, table = draw()
    counts = [
        _draw_bubbles(figure, row, _shares(recording, row, values), threshold)
        for _, row in table.iterrows()
    ]
    _write_legend(figure, threshold, target)
    return figure, table.assign(
        positive=[one for one, _ in counts], negative=[other for _, other in counts]
    )


def _recording(
    given: Recording | np.ndarray, fs: float | None, leads: Sequence[str]
) -> Recording:
    if isinstance(given, Recording):
        return given
    signal = np.asarray(given)
    if fs is None or signal.ndim != 2 or len(leads) != len(signal):
        raise EcgnbError(
            f"A signal of shape {signal.shape} was given with fs={fs!r} and {len(leads)} lead names; give "
            "[n_leads, n_samples], the sampling rate, and a name for each lead."
        )
    return Recording(signal, fs, tuple(leads), "signal")


def _shares(
    recording: Recording, row: pd.Series, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a strip's samples in mV, and their attributions as shares of the record's
    largest.
    """
    lead = recording.leads.index(row["lead"])
    part = slice(
        round(row["start_s"] * recording.fs), round(row["stop_s"] * recording.fs)
    )
    largest = np.abs(values).max(initial=0.0) or 1.0
    return recording.signal[lead, part], values[lead, part] / largest


def _draw_bubbles(
    figure: Figure,
    row: pd.Series,
    strip: tuple[np.ndarray, np.ndarray],
    threshold: float,
) -> tuple[int, int]:
    """Draw a strip's bubbles, the largest on top; return how many speak for the class
    and against it.
    """
    millivolts, shares = strip
    seconds = np.linspace(
        0.0, row["stop_s"] - row["start_s"], len(shares), endpoint=False
    )
    x = row["x_mm"] + MM_PER_S * seconds
    y = row["y_mm"] + MM_PER_MV * (millivolts - row["offset_mv"])
    shown = np.flatnonzero((np.abs(shares) > threshold) & np.isfinite(y))
    shown = shown[np.argsort(np.abs(shares[shown]), kind="stable")]
    positive = shares[shown] > 0
    figure.axes[0].scatter(
        x[shown],
        y[shown],
        s=_LARGEST * np.abs(shares[shown]),
        c=np.where(positive, _FOR, _AGAINST),
        alpha=_ALPHA,
        linewidths=0,
        zorder=1.8,  # under the trace
        gid=f"bubbles {row['lead']}",
    )
    return int(positive.sum()), int((~positive).sum())


def _write_legend(figure: Figure, threshold: float, target: str) -> None:
    ax = figure.axes[0]
    words = f"against it (above {100 * threshold:g} % of the largest)"
    labels = ((_FOR, f"speaks for {shorten(target, 24)}"), (_AGAINST, words))
    look: dict[str, Any] = {
        "linestyle": "",
        "marker": "o",
        "markersize": 6,
        "alpha": _ALPHA,
        "markeredgewidth": 0,
    }
    ax.legend(
        handles=[
            Line2D([], [], color=colour, label=label, **look)
            for colour, label in labels
        ],
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
