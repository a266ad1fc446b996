"""Layout of ECG paper: which part of which lead is drawn in which row (no drawing).

Standard paper (Kligfield et al. 2007, "Recommendations for the standardization and
interpretation of the electrocardiogram, part I", Circulation 115:1306): 25 mm/s,
10 mm/mV, small squares of 1 mm, large ones of 5 mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecgnb.core.errors import EcgnbError
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12

MM_PER_S = 25.0
MM_PER_MV = 10.0
MM_PER_INCH = 25.4
#: Longest stretch of one page in seconds.
PAGE_S = 10.0
#: Rows of the standard arrangement, each from left to right.
ROWS = (
    ("I", "aVR", "V1", "V4"),
    ("II", "aVL", "V2", "V5"),
    ("III", "aVF", "V3", "V6"),
)
#: Lead of the long strip below them.
RHYTHM_LEAD = "II"
#: Height of a row below and above its middle line in mm: least, most.
BELOW_MM, ABOVE_MM = (10.0, 30.0), (15.0, 35.0)


@dataclass(frozen=True)
class Strip:
    """A stretch of one lead and its position.

    Attributes:
        lead: its name.
        row: row of the page, 0 at the top.
        start: first second, from the beginning of the recording.
        stop: end, in seconds.
        millivolts: float64 ``[n]``, as recorded.
        offset: the median of the lead over the page in mV; it is drawn at the height of
            the row's middle line.
        shift: seconds by which it is drawn later than it was recorded, beside another
            lead of the same time.
    """

    lead: str
    row: int
    start: float
    stop: float
    millivolts: np.ndarray
    offset: float
    shift: float = 0.0

    @property
    def known(self) -> np.ndarray:
        """The samples that are not missing, in mV."""
        return self.millivolts[np.isfinite(self.millivolts)]

    @property
    def flat(self) -> bool:
        """Whether all samples have the same value."""
        return self.known.size > 0 and bool(np.ptp(self.known) == 0)

    @property
    def missing(self) -> float:
        """Share of missing samples."""
        if not len(self.millivolts):
            return 1.0
        return float(np.mean(~np.isfinite(self.millivolts)))


@dataclass(frozen=True)
class PagePart:
    """The samples of a recording that are on a page: from ``first`` to ``stop``."""

    recording: Recording
    first: int
    stop: int

    @property
    def seconds(self) -> float:
        """Duration of the page."""
        return (self.stop - self.first) / self.recording.fs

    def strip(
        self,
        lead: int,
        row: int,
        first: int,
        stop: int,
        shift: float = 0.0,
    ) -> Strip:
        """Return a strip of a lead (by number): samples ``first`` to ``stop``."""
        recording = self.recording
        page = recording.signal[lead, self.first : self.stop].astype(np.float64)
        known = page[np.isfinite(page)]
        return Strip(
            lead=recording.leads[lead],
            row=row,
            start=first / recording.fs,
            stop=stop / recording.fs,
            millivolts=recording.signal[lead, first:stop].astype(np.float64),
            offset=float(np.median(known)) if known.size else 0.0,
            shift=shift,
        )


def page_part(recording: Recording, start: float) -> PagePart:
    """Return the page that begins at ``start`` seconds.

    Raises:
        EcgnbError: the recording has no samples there.
    """
    first = round(start * recording.fs)
    if not 0 <= first < recording.n_samples:
        raise EcgnbError(
            f"Recording {recording.record_id} has {recording.n_samples} samples "
            f"({recording.duration:g} s), so no page can begin at {start:g} s."
        )
    stop = min(recording.n_samples, first + round(PAGE_S * recording.fs))
    return PagePart(recording, first, stop)


def lay_out(page: PagePart) -> list[Strip]:
    """Return the strips of a page.

    All twelve standard leads: three rows of four columns that follow each other in
    time, below them lead II and any further leads over the whole width. Up to five
    seconds: six rows of two columns, limb leads to the left and chest leads to the
    right, each lead whole. Otherwise each lead has a row.
    """
    number: dict[str, int] = {}
    for k, lead in enumerate(page.recording.leads):
        number.setdefault(lead, k)  # of equal names the first counts
    further = [lead for lead in number if lead not in STANDARD_12]
    whole = (page.first, page.stop)
    strips = []
    if len(number) - len(further) < len(STANDARD_12):
        full_width = list(number)
    elif page.seconds <= PAGE_S / 2:
        full_width = further
        for k, lead in enumerate(STANDARD_12):
            shift = page.seconds if k >= 6 else 0.0
            strips.append(page.strip(number[lead], k % 6, *whole, shift))
    else:
        full_width = [RHYTHM_LEAD, *further]
        borders = np.linspace(page.first, page.stop, len(ROWS[0]) + 1)
        borders = borders.round().astype(int)  # samples at which the columns change
        for row, leads in enumerate(ROWS):
            for lead, first, stop in zip(leads, borders, borders[1:], strict=False):
                strips.append(page.strip(number[lead], row, first, stop))
    first_row = strips[-1].row + 1 if strips else 0  # below those of several columns
    for row, lead in enumerate(full_width, start=first_row):
        strips.append(page.strip(number[lead], row, *whole))
    return strips


def row_heights(strips: Sequence[Strip]) -> np.ndarray:
    """Return the height of each row below and above its middle line in mm, float64
    ``[n_rows, 2]``.

    Both are whole large squares, so that middle lines are on the grid: enough for the
    traces of the row (single spikes left out) within `BELOW_MM` and `ABOVE_MM`.
    """
    n_rows = 1 + max(strip.row for strip in strips)
    heights = np.zeros((n_rows, 2))
    for row in range(n_rows):
        values = [strip.known - strip.offset for strip in strips if strip.row == row]
        millivolts = np.concatenate([[0.0], *values])
        low, high = MM_PER_MV * np.quantile(millivolts, [0.002, 0.998])  # in mm
        below = 5.0 * np.ceil((1.0 - low) / 5.0)
        above = 5.0 * np.ceil((high + 4.0) / 5.0)  # 4 mm for the name of the lead
        heights[row] = np.clip(below, *BELOW_MM), np.clip(above, *ABOVE_MM)
    return heights
