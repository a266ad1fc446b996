"""A sheet of electrocardiogram paper to draw strips on."""

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
    row_spans,
)
from ecgnb.figures.style import INK, MUTED, PALETTE, new_figure

PAPER, FINE, COARSE = "#FFFBFA", "#F7DAD6", "#E8ABA3"
#: Margin around the paper, and what the calibration pulse takes at the left of it, in
#: mm.
MARGIN_MM, PULSE_MM = 5.0, 10.0
#: Room for notes below the paper.
FOOTER_MM = 7.0
#: Least width of the paper in mm, so that the header has room above a short recording.
_LEAST_WIDTH_MM = 200.0
#: How far a trace may reach into the neighbouring rows, in mm.
_OVERREACH_MM = 5.0


class Page:
    """A sheet of paper with its grid, ready for strips.

    Everything is placed in millimetres: one pair of axes covers the figure, and its
    data coordinates are millimetres.

    Args:
        strips: what will be drawn; their rows and times decide the size of the paper.
        header_mm: room above the paper.

    Attributes:
        figure: the figure.
        ax: its axes.
        width: of the figure in mm.
        height: of the figure in mm.
    """

    def __init__(self, strips: Sequence[Strip], header_mm: float) -> None:
        spans = row_spans(strips)
        seconds = max(strip.stop + strip.shift for strip in strips) - min(
            strip.start for strip in strips
        )
        self.start = min(strip.start for strip in strips)
        self.paper_width = max(
            _LEAST_WIDTH_MM, 5.0 * np.ceil((PULSE_MM + MM_PER_S * seconds) / 5.0)
        )
        self.paper_height = sum(below + above for below, above in spans)
        self.width = self.paper_width + 2 * MARGIN_MM
        self.height = self.paper_height + header_mm + FOOTER_MM
        self.bottom, self.top = FOOTER_MM, FOOTER_MM + self.paper_height
        self.tops = [self.top - sum(map(sum, spans[:row])) for row in range(len(spans))]
        self.middles = [
            top - above for top, (_, above) in zip(self.tops, spans, strict=True)
        ]
        self.bottoms = [
            middle - below
            for middle, (below, _) in zip(self.middles, spans, strict=True)
        ]
        self.figure = new_figure(
            self.width / MM_PER_INCH, self.height / MM_PER_INCH, constrained=False
        )
        self.ax = self.figure.add_axes(
            (0, 0, 1, 1), frameon=False, xticks=[], yticks=[]
        )
        self._draw_grid()
        self.ax.set(xlim=(0, self.width), ylim=(0, self.height), autoscale_on=False)

    def x(self, second: float) -> float:
        """Return where a time of the recording lies, in mm."""
        return MARGIN_MM + PULSE_MM + MM_PER_S * (second - self.start)

    def ends(self, strip: Strip) -> tuple[float, float]:
        """Return where a strip begins and ends, in mm."""
        return self.x(strip.start + strip.shift), self.x(strip.stop + strip.shift)

    def _draw_grid(self) -> None:
        left, right = MARGIN_MM, MARGIN_MM + self.paper_width
        paper = Rectangle(
            (left, self.bottom),
            self.paper_width,
            self.paper_height,
            facecolor=PAPER,
            zorder=0,
        )
        self.ax.add_patch(paper)
        for step, colour, width in ((1, FINE, 0.3), (5, COARSE, 0.6)):
            across = np.arange(0, self.paper_width + 0.5, step) + left
            up = np.arange(0, self.paper_height + 0.5, step) + self.bottom
            lines = [[(x, self.bottom), (x, self.top)] for x in across] + [
                [(left, y), (right, y)] for y in up
            ]
            self.ax.add_collection(
                LineCollection(lines, colors=colour, linewidths=width, zorder=1),
                autolim=False,
            )

    def _reach(self, row: int) -> tuple[float, float]:
        """Return between which heights the traces of a row are drawn."""
        low, high = self.bottoms[row] - _OVERREACH_MM, self.tops[row] + _OVERREACH_MM
        return max(self.bottom, low), min(self.top, high)

    def is_cut(self, strip: Strip) -> bool:
        """Return whether part of a strip lies outside the paper that its row may
        use.
        """
        y = self.middles[strip.row] + MM_PER_MV * (
            strip.millivolts[np.isfinite(strip.millivolts)] - strip.offset
        )
        low, high = self._reach(strip.row)
        return bool(((y < low) | (y > high)).any())

    def draw_pulse(self, row: int) -> None:
        """Draw the calibration pulse of a row: 1 mV for 0.2 s."""
        x, y = MARGIN_MM + 2.5, self.middles[row]
        self.ax.plot(
            x + np.array([-1, 0, 0, 5, 5, 6]),
            y + MM_PER_MV * np.array([0, 0, 1, 1, 0, 0]),
            color=INK,
            linewidth=0.8,
        )

    def draw_strip(self, strip: Strip, label: str) -> None:
        """Draw a stretch of a lead with its name; grey where samples are missing."""
        middle, left, right = self.middles[strip.row], *self.ends(strip)
        x = np.linspace(left, right, len(strip.millivolts), endpoint=False)
        y = middle + MM_PER_MV * (strip.millivolts - strip.offset)
        for first, stop in _gaps(strip.millivolts):
            wide = (right - left) / max(1, len(x))
            corner = (left + wide * first, self.bottoms[strip.row] + 1)
            tall = self.tops[strip.row] - self.bottoms[strip.row] - 2
            self.ax.add_patch(
                Rectangle(
                    corner,
                    wide * (stop - first),
                    tall,
                    color=MUTED,
                    alpha=0.18,
                    linewidth=0,
                )
            )
        (line,) = self.ax.plot(
            x,
            y,
            color=INK,
            linewidth=0.8,
            solid_joinstyle="round",
            gid=f"lead {strip.lead}",
        )
        low, high = self._reach(strip.row)
        line.set_clip_path(
            Rectangle((0, low), self.width, high - low, transform=self.ax.transData)
        )
        note = ", no signal" if strip.missing == 1 else ", flat" if strip.flat else ""
        self.ax.text(
            left + 1,
            self.tops[strip.row] - 1,
            label + note,
            va="top",
            fontsize=9,
            fontweight="bold",
            color=PALETTE[1] if note else INK,
            path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
        )

    def draw_border(self, strip: Strip) -> None:
        """Draw the short line at which one lead of a row ends and the next begins."""
        x, y = self.ends(strip)[0], self.middles[strip.row]
        self.ax.plot([x, x], [y - 4, y + 4], color=INK, linewidth=0.8)

    def shade(self, strip: Strip, shares: np.ndarray) -> None:
        """Colour the ground under a strip: ``shares`` between 0 (clear) and 1 along its
        time.
        """
        image = np.tile(to_rgba(PALETTE[4]), (1, len(shares), 1))
        image[..., 3] = 0.75 * np.nan_to_num(shares)
        place = (
            *self.ends(strip),
            self.bottoms[strip.row] + 1,
            self.tops[strip.row] - 1,
        )
        self.ax.imshow(
            image, extent=place, aspect="auto", interpolation="nearest", zorder=1.5
        )
        self.ax.set(xlim=(0, self.width), ylim=(0, self.height))

    def table(self, strips: Sequence[Strip]) -> pd.DataFrame:
        """Return what was drawn and where."""
        return pd.DataFrame([self._row(strip) for strip in strips])

    def _row(self, strip: Strip) -> dict[str, Any]:
        known = strip.millivolts[np.isfinite(strip.millivolts)]
        return {
            "lead": strip.lead,
            "row": strip.row,
            "start_s": strip.start,
            "stop_s": strip.stop,
            "x_mm": self.ends(strip)[0],
            "y_mm": self.middles[strip.row],
            "offset_mv": strip.offset,
            "min_mv": known.min() if known.size else np.nan,
            "max_mv": known.max() if known.size else np.nan,
            "missing": strip.missing,
            "flat": strip.flat,
            "cut": self.is_cut(strip),
        }


def _gaps(values: np.ndarray) -> list[tuple[int, int]]:
    """Return the stretches of missing samples as pairs of first and one after the
    last.
    """
    missing = np.concatenate([[False], ~np.isfinite(values), [False]])
    edges = np.flatnonzero(missing[1:] != missing[:-1])
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
