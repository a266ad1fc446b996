"""Where each lead stands on electrocardiogram paper, in millimetres. No drawing here,
only geometry.

Standard paper (Kligfield et al. 2007, "Recommendations for the standardization and
interpretation of the electrocardiogram, part I", Circulation 115:1306): 25 mm a second,
10 mm a millivolt, small squares of 1 mm, large ones of 5 mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ecgnb.core.errors import EcgnbError
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12

MM_PER_S = 25.0
MM_PER_MV = 10.0
MM_PER_INCH = 25.4
#: Longest stretch of one page in seconds.
PAGE_S = 10.0
#: Columns of the standard arrangement, each from top to bottom.
COLUMNS = (
    ("I", "II", "III"),
    ("aVR", "aVL", "aVF"),
    ("V1", "V2", "V3"),
    ("V4", "V5", "V6"),
)
#: Lead of the long strip below them.
RHYTHM_LEAD = "II"
#: Room of a row below and above its middle line in mm: least, most.
BELOW_MM, ABOVE_MM = (10.0, 30.0), (15.0, 35.0)


@dataclass(frozen=True)
class Strip:
    """A stretch of one lead in its place.

    Attributes:
        lead: its name.
        row: row of the page, 0 at the top.
        start: first second, from the beginning of the recording.
        stop: where it ends, in seconds.
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
    def flat(self) -> bool:
        """Whether the lead shows one single value here."""
        known = self.millivolts[np.isfinite(self.millivolts)]
        return bool(known.size) and float(np.ptp(known)) == 0.0

    @property
    def missing(self) -> float:
        """Share of samples that are not known."""
        return (
            float(np.mean(~np.isfinite(self.millivolts)))
            if self.millivolts.size
            else 1.0
        )


def page_samples(recording: Recording, start: float) -> tuple[int, int]:
    """Return the first sample of a page that begins at ``start`` seconds, and the one
    after its last.

    Raises:
        EcgnbError: the recording has no samples there.
    """
    first = round(start * recording.fs)
    if not 0 <= first < recording.n_samples:
        raise EcgnbError(
            f"Recording {recording.record_id} has {recording.n_samples} samples ({recording.duration:g} s), so no page "
            f"can begin at {start:g} s."
        )
    return first, min(recording.n_samples, first + round(PAGE_S * recording.fs))


def lay_out(recording: Recording, first: int, stop: int) -> list[Strip]:
    """Place the leads of a recording.

    All twelve standard leads: three rows of four columns that follow each other in
    time, below them lead II and any further leads over the whole width. Up to five
    seconds: six rows of two columns, each lead whole. Otherwise each lead has a row.

    Args:
        recording: in mV.
        first: first sample of the page.
        stop: sample after its last.
    """
    page = {
        lead: k for k, lead in reversed(list(enumerate(recording.leads)))
    }  # of equal names the first counts
    if not set(STANDARD_12) <= set(page):
        return [
            _cut(recording, k, row, (first, stop), (first, stop))
            for row, k in enumerate(sorted(page.values()))
        ]
    further = list(
        dict.fromkeys(lead for lead in recording.leads if lead not in STANDARD_12)
    )
    if stop - first <= PAGE_S / 2 * recording.fs:
        strips = _two_columns(recording, page, (first, stop))
        below = enumerate(further, start=6)
        return strips + [
            _cut(recording, page[lead], row, (first, stop), (first, stop))
            for row, lead in below
        ]
    borders = np.linspace(first, stop, len(COLUMNS) + 1).round().astype(int)
    strips = [
        _cut(
            recording,
            page[lead],
            row,
            (borders[column], borders[column + 1]),
            (first, stop),
        )
        for row in range(3)
        for column, lead in enumerate(leads[row] for leads in COLUMNS)
    ]
    below = enumerate([RHYTHM_LEAD, *further], start=3)
    return strips + [
        _cut(recording, page[lead], row, (first, stop), (first, stop))
        for row, lead in below
    ]


def _two_columns(
    recording: Recording, page: dict[str, int], part: tuple[int, int]
) -> list[Strip]:
    """Place limb leads to the left and chest leads to the right, both from the first
    second to the last.
    """
    right = (part[1] - part[0]) / recording.fs
    cut = [
        _cut(recording, page[lead], row % 6, part, part)
        for row, lead in enumerate(STANDARD_12)
    ]
    return [
        replace(strip, shift=right) if place >= 6 else strip
        for place, strip in enumerate(cut)
    ]


def whole_lead(recording: Recording, lead: str, row: int) -> Strip:
    """Return the first page of one lead as a strip; of the first lead when the
    recording lacks it.
    """
    k = recording.leads.index(lead) if lead in recording.leads else 0
    page = page_samples(recording, 0.0)
    return _cut(recording, k, row, page, page)


def _cut(
    recording: Recording, k: int, row: int, part: tuple[int, int], page: tuple[int, int]
) -> Strip:
    whole = recording.signal[k, page[0] : page[1]].astype(np.float64)
    known = whole[np.isfinite(whole)]
    return Strip(
        lead=recording.leads[k],
        row=row,
        start=part[0] / recording.fs,
        stop=part[1] / recording.fs,
        millivolts=recording.signal[k, part[0] : part[1]].astype(np.float64),
        offset=float(np.median(known)) if known.size else 0.0,
    )


def row_spans(strips: Sequence[Strip]) -> list[tuple[float, float]]:
    """Return for each row how many mm it needs below and above its middle line.

    Both are whole large squares, so that middle lines lie on the grid: room for the
    traces of the row (single spikes left out) within `BELOW_MM` and `ABOVE_MM`.
    """
    return [
        _span([strip for strip in strips if strip.row == row])
        for row in range(1 + max(s.row for s in strips))
    ]


def _span(strips: Sequence[Strip]) -> tuple[float, float]:
    parts = [
        strip.millivolts[np.isfinite(strip.millivolts)] - strip.offset
        for strip in strips
    ]
    values = np.concatenate([*parts, np.zeros(1)])
    low, high = MM_PER_MV * np.quantile(values, [0.002, 0.998])
    # The name of a lead takes 4 mm at the top of the row.
    below, above = 5.0 * np.ceil((np.array([-low, high]) + np.array([1.0, 4.0])) / 5.0)
    return float(np.clip(below, *BELOW_MM)), float(np.clip(above, *ABOVE_MM))
