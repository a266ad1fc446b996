"""Attributions on electrocardiogram paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ecgnb.data.recording import Recording
from ecgnb.errors import EcgnbError
from ecgnb.evaluation.paper import plot_ecg
from ecgnb.evaluation.paper_layout import MM_PER_MV, MM_PER_S
from ecgnb.evaluation.style import PALETTE, SMALL, styled

#: Attributions up to this share of the largest are left out (Gumpfer et al. 2024).
THRESHOLD = 0.2
#: Area of the largest bubble in square points.
_LARGEST = 60.0
_FOR, _AGAINST = PALETTE[1], PALETTE[0]


def positive_relevance(attribution: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """Return what speaks for a class, on a scale from 0 to 1, without its weak parts.

    The recipe of Gumpfer et al. 2024 (AIME): negative values become 0, the rest is divided by the record's largest
    over all leads, and what is then not above the threshold becomes 0.

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
) -> tuple[Figure, pd.DataFrame]:
    """Draw a recording on standard paper with bubbles on the samples that an explanation names.

    A bubble's area is its share of the page's largest absolute attribution; its colour tells whether the sample speaks
    for the class or against it. Attributions over time alone (Grad-CAM) are drawn as shades under all leads.

    Args:
        recording: what was explained, in mV; or its signal ``[n_leads, n_samples]`` alone, with ``fs`` and ``leads``.
        attribution: ``[n_leads, n_samples]`` or ``[n_samples]``.
        fs: samples a second, for a signal alone.
        leads: names of the signal's rows.
        threshold: smallest share that is drawn, left out itself.
        probabilities: as for `plot_ecg`, like the next three.
        predicted: the classes called.
        truth: the true classes.
        start: second at which the page begins.

    Returns:
        The figure and the table of `plot_ecg` with ``positive`` and ``negative``: each strip's number of bubbles.

    Raises:
        EcgnbError: the attribution has another shape than the signal, or ``fs`` or ``leads`` are missing.
    """
    recording = _recording(recording, fs, leads)
    values = np.nan_to_num(np.asarray(attribution, dtype=np.float64))
    header = {"probabilities": probabilities, "predicted": predicted, "truth": truth, "start": start}
    if values.ndim == 1:
        return plot_ecg(recording, overlay=values, **header)
    if values.shape != recording.signal.shape:
        turned = " Turn it: attribution.T." if values.T.shape == recording.signal.shape else ""
        raise EcgnbError(f"The attribution has shape {values.shape}, the signal {recording.signal.shape}.{turned}")
    figure, table = plot_ecg(recording, **header)
    return figure, _draw_bubbles(figure, table, recording, values, threshold)
