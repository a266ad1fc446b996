"""Multi-segment WFDB records: several records in a row, with gaps.

A fixed layout has the same signals in every segment. A variable layout starts with a
header of length zero that lists all signals; a segment has some of them, and what it
lacks is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import Window
from ecgnb.data.readers.wfdb_files import safe_path
from ecgnb.data.readers.wfdb_header import Header, Segment, SignalSpec, read_header

#: A gap costs no byte in any file, so nothing but this limit keeps a wrong header from
#: filling the memory.
MAX_VALUES = 1 << 29

#: Reads a part of one segment: (header, path, window, factors) -> [k, n] in mV.
SegmentReader = Callable[[Header, Path, Window, Sequence[float | None]], np.ndarray]
#: Millivolts in one unit of each signal, None for one to leave out.
FactorsOf = Callable[[Sequence[SignalSpec]], list[float | None]]


def segments_length(header: Header) -> int:
    """Return the samples a signal of a multi-segment record; a header that contradicts
    itself is refused.
    """
    total = sum(segment.n_samples for segment in header.segments)
    if header.n_samples not in (None, total):
        raise ReadError(
            "header",
            f"The header of {header.record_name} states {header.n_samples} samples, its segments {total}.",
        )
    return total


def layout_signals(header: Header, folder: Path) -> tuple[SignalSpec, ...]:
    """Return the signals of the whole record: those of the layout header, or of the
    first segment.
    """
    layout = _segment_header(folder, header.segments[0], header.record_name)[0]
    if len(layout.signals) != header.n_leads:
        raise ReadError(
            "header",
            f"The header of {header.record_name} states {header.n_leads} signals, its first segment "
            f"{len(layout.signals)}.",
        )
    return layout.signals


def read_segments(
    header: Header,
    folder: Path,
    window: Window,
    factors_of: FactorsOf,
    read: SegmentReader,
) -> np.ndarray:
    """Read a part of a multi-segment record.

    Args:
        header: the record's header, with segments.
        folder: where its files are.
        window: the part to read.
        factors_of: gives millivolts in one unit of each signal.
        read: reads the signals of one segment.

    Returns:
        float32 ``[n_kept, window.n_samples]`` in mV, NaN in gaps and where a segment
        lacks a signal.

    Raises:
        ReadError: ``too_large``, ``header``, or what reading a segment raises.
    """
    signals = layout_signals(header, folder)
    kept = [
        s.lead
        for s, factor in zip(signals, factors_of(signals), strict=True)
        if factor is not None
    ]
    if len(kept) * window.n_samples > MAX_VALUES:
        raise ReadError(
            "too_large",
            f"{header.record_name} has {len(kept)} signals of {window.n_samples} samples. "
            "Read a part of it with start= and n_samples=.",
        )
    variable = header.segments[0].n_samples == 0
    result = np.full((len(kept), window.n_samples), np.nan, dtype=np.float32)
    begin = 0
    for segment in header.segments:
        end = begin + segment.n_samples
        first, last = max(window.start, begin), min(window.stop, end)
        if first < last and segment.name != "~":
            own, path = _segment_header(folder, segment, header.record_name)
            _require_shape(own, segment, None if variable else len(signals))
            factors = factors_of(own.signals)
            values = read(
                own,
                path,
                Window(first - begin, last - begin, segment.n_samples),
                factors,
            )
            names = [
                s.lead
                for s, factor in zip(own.signals, factors, strict=True)
                if factor is not None
            ]
            _place(
                result[:, first - window.start : last - window.start],
                values,
                kept,
                names if variable else kept,
            )
        begin = end
    return result


def _place(
    target: np.ndarray, values: np.ndarray, want: Sequence[str], have: Sequence[str]
) -> None:
    if len(values) != len(have):
        raise ReadError(
            "header",
            "The segments of a record with a fixed layout differ in their units.",
        )
    for row, name in enumerate(want):
        if have is want:
            target[row] = values[row]
        elif name in have:
            target[row] = values[have.index(name)]


def _segment_header(
    folder: Path, segment: Segment, record_name: str
) -> tuple[Header, Path]:
    path = safe_path(folder, segment.name + ".hea", record_name)
    header = read_header(path)
    if header.segments:
        raise ReadError(
            "header", f"{path} is a segment of {record_name} and has segments itself."
        )
    return header, path


def _require_shape(own: Header, segment: Segment, n_leads: int | None) -> None:
    length = own.n_samples if own.n_samples is not None else segment.n_samples
    if length < segment.n_samples or (n_leads is not None and own.n_leads != n_leads):
        raise ReadError(
            "header",
            f"The segment {segment.name} has {own.n_leads} signals of {length} samples, which is not what the "
            "header of the record says.",
        )
