"""A recording to draw, and where its traces are on the page."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12


def recording(
    leads: tuple[str, ...] = STANDARD_12, seconds: float = 10.0, fs: float = 500.0
) -> Recording:
    t = np.arange(round(seconds * fs)) / fs
    beat = np.exp(-(((t % 0.8 - 0.4) / 0.02) ** 2)) - 0.1
    signal = np.stack(
        [(0.3 + 0.1 * k) * beat + 0.01 * k for k in range(len(leads))]
    ).astype(np.float32)
    return Recording(
        signal, fs, leads, "rec-1", "demo", metadata={"age": 61.0, "sex": "female"}
    )


def traces(figure: Figure) -> dict[str, list[Line2D]]:
    found: dict[str, list[Line2D]] = {}
    for line in figure.axes[0].get_lines():
        if str(line.get_gid()).startswith("lead "):
            found.setdefault(str(line.get_gid())[5:], []).append(line)
    return found


def millimetres(figure: Figure, points: np.ndarray) -> np.ndarray:
    """Where data points lie on the page, from the figure's own transforms and
    resolution."""
    return figure.axes[0].transData.transform(points) / figure.dpi * 25.4


def words_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.axes[0].texts)
