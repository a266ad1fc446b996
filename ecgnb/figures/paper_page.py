"""A sheet of ECG paper: grid, calibration pulses and strips of leads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from ecgnb.figures.paper_layout import (
    MM_PER_INCH,
    MM_PER_MV,
    MM_PER_S,
    Strip,
    row_heights,
)
from ecgnb.figures.style import INK, MUTED, PALETTE, SMALL, new_figure, shorten

PAPER, FINE, COARSE = "#FFFBFA", "#F7DAD6", "#E8ABA3"
#: Margin around the paper, and width of the calibration pulse at its left, in mm.
MARGIN_MM, PULSE_MM = 5.0, 10.0
#: Height of the notes below the paper.
FOOTER_MM = 7.0
#: Least width of the paper in mm, so that the header fits above a short recording.
_LEAST_WIDTH_MM = 200.0
#: How far a trace may reach into the neighbouring rows, in mm.
_OVERREACH_MM = 5.0


class Page:
    """A sheet of paper with its grid, ready for strips.

    All positions are in millimetres: one pair of axes covers the figure, and its data
    coordinates are millimetres from the lower left corner.

    Args:
        strips: what will be drawn; their rows and times decide the size of the paper.
        header_mm: height above the paper.

    Attributes:
        figure: the figure.
        ax: its axes.
        width: of the figure in mm.
        height: of the figure in mm.
        tops: upper edge of each row.
        middles: middle line of each row.
        bottoms: lower edge of each row.
    """

    def __init__(self, strips: Sequence[Strip], header_mm: float) -> None:
        below, above = row_heights(strips).T
        self.start = min(strip.start for strip in strips)
        seconds = max(strip.stop + strip.shift for strip in strips) - self.start
        squares = np.ceil((PULSE_MM + MM_PER_S * seconds) / 5.0)  # large ones
        self.paper_width = max(_LEAST_WIDTH_MM, 5.0 * squares)
        self.paper_height = (below + above).sum()
        self.width = self.paper_width + 2 * MARGIN_MM
        self.height = self.paper_height + header_mm + FOOTER_MM
        self.bottoms = FOOTER_MM + self.paper_height - np.cumsum(below + above)
        self.middles = self.bottoms + below
        self.tops = self.middles + above
        self.figure = new_figure(
            self.width / MM_PER_INCH, self.height / MM_PER_INCH, layout=None
        )
        self.ax = self.figure.add_axes(
            (0, 0, 1, 1), frameon=False, xticks=[], yticks=[]
        )
        self._draw_grid()
        self.ax.set(xlim=(0, self.width), ylim=(0, self.height), autoscale_on=False)

    def ends(self, strip: Strip) -> tuple[float, float]:
        """Return the left and right end of a strip."""
        zero = MARGIN_MM + PULSE_MM  # x of the page's first second
        left = zero + MM_PER_S * (strip.start + strip.shift - self.start)
        right = zero + MM_PER_S * (strip.stop + strip.shift - self.start)
        return left, right

    def _draw_grid(self) -> None:
        left, bottom = MARGIN_MM, FOOTER_MM
        width, height = self.paper_width, self.paper_height
        paper = Rectangle((left, bottom), width, height, facecolor=PAPER, zorder=0)
        self.ax.add_patch(paper)
        right, top = left + width, bottom + height
        # Small and large squares: side in mm, colour, line width in points.
        for step, colour, line_width in ((1, FINE, 0.3), (5, COARSE, 0.6)):
            columns = np.arange(0, width + 0.5, step) + left
            rows = np.arange(0, height + 0.5, step) + bottom
            vertical = [[(x, bottom), (x, top)] for x in columns]
            horizontal = [[(left, y), (right, y)] for y in rows]
            grid = LineCollection(
                vertical + horizontal, colors=colour, linewidths=line_width, zorder=1
            )
            self.ax.add_collection(grid, autolim=False)

    def _trace_limits(self, row: int) -> tuple[float, float]:
        """Return the lowest and highest y at which the traces of a row are drawn."""
        low = self.bottoms[row] - _OVERREACH_MM
        high = self.tops[row] + _OVERREACH_MM
        return max(FOOTER_MM, low), min(FOOTER_MM + self.paper_height, high)

    def draw_pulse(self, row: int) -> None:
        """Draw the calibration pulse of a row: 1 mV for 0.2 s."""
        x = MARGIN_MM + 2.5 + np.array([-1, 0, 0, 5, 5, 6])  # 5 mm are 0.2 s
        y = self.middles[row] + MM_PER_MV * np.array([0, 0, 1, 1, 0, 0])
        self.ax.plot(x, y, color=INK, linewidth=0.8)

    def draw_strip(self, strip: Strip, label: str) -> None:
        """Draw a stretch of a lead with its name; grey where samples are missing."""
        row, n = strip.row, len(strip.millivolts)
        left, right = self.ends(strip)
        bottom, top = self.bottoms[row], self.tops[row]
        x = np.linspace(left, right, n, endpoint=False)
        y = self.middles[row] + MM_PER_MV * (strip.millivolts - strip.offset)
        sample_width = (right - left) / max(1, n)
        for first, stop in _missing_stretches(strip.millivolts):
            gap = Rectangle(
                (left + sample_width * first, bottom + 1),
                sample_width * (stop - first),
                top - bottom - 2,
                color=MUTED,
                alpha=0.18,
                linewidth=0,
            )
            self.ax.add_patch(gap)
        (line,) = self.ax.plot(
            x,
            y,
            color=INK,
            linewidth=0.8,
            solid_joinstyle="round",
            gid=f"lead {strip.lead}",
        )
        low, high = self._trace_limits(row)
        visible = Rectangle((0, low), self.width, high - low)
        visible.set_transform(self.ax.transData)
        line.set_clip_path(visible)
        note, colour = "", INK
        if strip.missing == 1:
            note, colour = ", no signal", PALETTE[1]
        elif strip.flat:
            note, colour = ", flat", PALETTE[1]
        self.ax.text(
            left + 1,
            top - 1,
            label + note,
            va="top",
            fontsize=9,
            fontweight="bold",
            color=colour,
            path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
        )

    def draw_border(self, strip: Strip) -> None:
        """Draw the short line at which one lead of a row ends and the next begins."""
        x, y = self.ends(strip)[0], self.middles[strip.row]
        self.ax.plot([x, x], [y - 4, y + 4], color=INK, linewidth=0.8)

    def shade(self, strip: Strip, shares: np.ndarray) -> None:
        """Colour the background of a strip: ``shares`` between 0 (clear) and 1 along
        its time.
        """
        image = np.tile(to_rgba(PALETTE[4]), (1, len(shares), 1))
        image[..., 3] = 0.75 * np.nan_to_num(shares)
        bottom, top = self.bottoms[strip.row] + 1, self.tops[strip.row] - 1
        self.ax.imshow(
            image,
            extent=(*self.ends(strip), bottom, top),
            aspect="auto",
            interpolation="nearest",
            zorder=1.5,
        )
        self.ax.set(xlim=(0, self.width), ylim=(0, self.height))

    def write(self, x: float, y: float, text: str, **look: Any) -> None:
        """Write a small text whose middle is at the height ``y``."""
        self.ax.text(x, y, text, va="center", **{"fontsize": SMALL, **look})

    def write_notes(self, notes: Sequence[str]) -> None:
        """Write the scale and notes below the paper."""
        scale = [f"{MM_PER_S:g} mm/s", f"{MM_PER_MV:g} mm/mV"]
        letters = int(self.width / 1.5)  # 1.5 mm per letter
        text = shorten(" | ".join([*scale, *notes]), letters)
        self.write(MARGIN_MM, FOOTER_MM / 2, text, color=MUTED)

    def table(self, strips: Sequence[Strip]) -> pd.DataFrame:
        """Return one row per strip: what was drawn and where."""
        rows = []
        for strip in strips:
            middle = self.middles[strip.row]
            known = pd.Series(strip.known)  # its extremes are NaN when it is empty
            y = middle + MM_PER_MV * (known - strip.offset)
            row = {
                "lead": strip.lead,
                "row": strip.row,
                "start_s": strip.start,
                "stop_s": strip.stop,
                "x_mm": self.ends(strip)[0],
                "y_mm": middle,
                "offset_mv": strip.offset,
                "min_mv": known.min(),
                "max_mv": known.max(),
                "missing": strip.missing,
                "flat": strip.flat,
                "cut": not y.between(*self._trace_limits(strip.row)).all(),
            }
            rows.append(row)
        return pd.DataFrame(rows)


def _missing_stretches(values: np.ndarray) -> np.ndarray:
    """Return the stretches of missing samples, int ``[n, 2]``: first, one past last."""
    missing = np.concatenate([[False], ~np.isfinite(values), [False]])
    return np.flatnonzero(missing[1:] != missing[:-1]).reshape(-1, 2)
