"""Multi-segment WFDB records: several records in sequence, with gaps.

A fixed layout has the same signals in every segment. A variable layout starts with a
header of length zero that lists all signals; a segment has some of them, and the
missing ones are NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import Window, mv_per_unit, require_voltage
from ecgnb.data.readers.wfdb_files import safe_path
from ecgnb.data.readers.wfdb_header import Header, Segment, SignalSpec, read_header
from ecgnb.data.readers.wfdb_package import read_by_package
from ecgnb.data.readers.wfdb_signal import is_plain, read_plain

#: Most values in memory: a gap takes no byte in any file, so only this limit stops a
#: wrong header.
MAX_VALUES = 1 << 29


def mv_factors(
    signals: Sequence[SignalSpec], units: str | None, path: Path
) -> list[float | None]:
    """Return millivolts per unit of each signal, None for a signal to drop.

    Args:
        signals: the signal lines of a header.
        units: the caller's unit, which replaces that of all signals.
        path: the header, for messages.
    """
    if units is not None:
        return [require_voltage(units, str(path))] * len(signals)
    return [mv_per_unit(signal.units) for signal in signals]


def read_segment(
    header: Header, path: Path, window: Window, factors: Sequence[float | None]
) -> np.ndarray:
    """Read a record of one segment, format 16 without the `wfdb` package."""
    if is_plain(header):
        return read_plain(header, path.parent, window, factors)
    return read_by_package(header, path, window, factors)


def segments_length(header: Header) -> int:
    """Return the samples per signal of a multi-segment record.

    Raises:
        ReadError: ``header``, its length is not that of its segments.
    """
    total = sum([segment.n_samples for segment in header.segments])
    if header.n_samples not in (None, total):
        raise ReadError(
            "header",
            f"The header of {header.record_name} states {header.n_samples} samples, "
            f"its segments {total}.",
        )
    return total


def layout_signals(header: Header, folder: Path) -> tuple[SignalSpec, ...]:
    """Return the signals of the whole record: those of the layout header, or of the
    first segment.
    """
    _, layout = _read_segment_header(folder, header.segments[0], header.record_name)
    if len(layout.signals) != header.n_leads:
        raise ReadError(
            "header",
            f"The header of {header.record_name} states {header.n_leads} signals, "
            f"its first segment {len(layout.signals)}.",
        )
    return layout.signals


def read_segments(
    header: Header, folder: Path, window: Window, units: str | None
) -> np.ndarray:
    """Read a part of a multi-segment record.

    Args:
        header: the record's header, with segments.
        folder: the folder of its files.
        window: the part to read.
        units: the caller's unit, which replaces that of all signals.

    Returns:
        float32 ``[n_kept, window.n_samples]`` in mV, NaN in gaps and where a segment
        lacks a signal.

    Raises:
        ReadError: ``too_large``, ``header``, or what reading a segment raises.
    """
    signals = layout_signals(header, folder)
    leads = kept_leads(signals, mv_factors(signals, units, folder))
    if len(leads) * window.n_samples > MAX_VALUES:
        raise ReadError(
            "too_large",
            f"{header.record_name} has {len(leads)} signals of {window.n_samples} "
            "samples. Read a part of it with start= and n_samples=.",
        )
    variable = header.segments[0].n_samples == 0
    result = np.full((len(leads), window.n_samples), np.nan, dtype=np.float32)
    end = 0
    for segment in header.segments:
        begin, end = end, end + segment.n_samples
        first, last = max(window.start, begin), min(window.stop, end)
        if first >= last or segment.name == "~":
            continue
        path, layout = _read_segment_header(folder, segment, header.record_name)
        _require_shape(layout, segment, None if variable else len(signals))
        factors = mv_factors(layout.signals, units, path)
        part = Window(first - begin, last - begin, segment.n_samples)
        values = read_segment(layout, path, part, factors)  # [n_kept, part.n_samples]
        columns = slice(first - window.start, last - window.start)
        if variable:
            segment_leads = kept_leads(layout.signals, factors)
            for row, lead in enumerate(leads):
                if lead in segment_leads:
                    result[row, columns] = values[segment_leads.index(lead)]
        elif len(values) == len(leads):
            result[:, columns] = values
        else:
            raise ReadError(
                "header",
                "The segments of a record with a fixed layout differ in their units.",
            )
    return result


def kept_leads(
    signals: Sequence[SignalSpec], factors: Sequence[float | None]
) -> list[str]:
    """Return the names of the signals that are voltages."""
    kept = zip(signals, factors, strict=True)
    return [signal.lead for signal, factor in kept if factor is not None]


def _read_segment_header(
    folder: Path, segment: Segment, record_name: str
) -> tuple[Path, Header]:
    path = safe_path(folder, segment.name + ".hea", record_name)
    header = read_header(path)
    if header.segments:
        raise ReadError(
            "header", f"{path} is a segment of {record_name} and has segments itself."
        )
    return path, header


def _require_shape(header: Header, segment: Segment, n_leads: int | None) -> None:
    length = segment.n_samples if header.n_samples is None else header.n_samples
    if length < segment.n_samples or n_leads not in (None, header.n_leads):
        raise ReadError(
            "header",
            f"The segment {segment.name} has {header.n_leads} signals of {length} "
            "samples, which contradicts the header of the record.",
        )
