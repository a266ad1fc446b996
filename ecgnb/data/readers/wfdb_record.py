"""The reader of WFDB records: a header beside one or several signal files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import (
    READERS,
    Reader,
    ReadRequest,
    Window,
    mv_per_unit,
    require_voltage,
    resolve_fs,
    resolve_leads,
    resolve_window,
)
from ecgnb.data.readers.plausibility import gain_is_known_wrong
from ecgnb.data.readers.wfdb_files import signal_length
from ecgnb.data.readers.wfdb_header import (
    Header,
    SignalSpec,
    header_path,
    parse_comments,
    read_header,
)
from ecgnb.data.readers.wfdb_package import read_by_package
from ecgnb.data.readers.wfdb_segments import (
    layout_signals,
    read_segments,
    segments_length,
)
from ecgnb.data.readers.wfdb_signal import is_plain, read_plain
from ecgnb.data.recording import Recording


@READERS.register("wfdb")
class WfdbReader(Reader):
    """WFDB records, in every format and layout that PhysioNet uses.

    Signals whose unit is not of voltage (a pressure beside the electrocardiogram) are
    left out: flag ``dropped_signals``, their names in ``metadata["dropped"]``. A record
    that has no other signal is refused.
    """

    suffixes = (".hea", ".dat", ".mat")

    def read(self, path: Path, request: ReadRequest) -> Recording:
        """Read the record that ``path`` (header, signal file or name without extension)
        belongs to.
        """
        path = header_path(path)
        header = read_header(path)
        signals = (
            layout_signals(header, path.parent) if header.segments else header.signals
        )
        if not signals:
            raise ReadError(
                "no_signal",
                f"The header {path} has no signals. Give the path of a record that has.",
            )
        total = (
            segments_length(header)
            if header.segments
            else signal_length(header, path.parent)
        )
        window = resolve_window(request, total, path)
        fs, fs_flags = resolve_fs(request, header.fs, path)
        factors = _factors(signals, request.units, path)
        signal = _read(header, path, window, request.units)
        leads, lead_flags = resolve_leads(request, *_kept_names(signals, factors), path)
        metadata, meta_flags = _metadata(header, signals, factors)
        return Recording(
            signal=signal,
            fs=fs,
            leads=leads,
            record_id=request.record_id or path.stem,
            patient_id=metadata.pop("patient_id"),
            metadata=metadata,
            flags=header.flags + fs_flags + lead_flags + meta_flags,
        )


def _read(header: Header, path: Path, window: Window, units: str | None) -> np.ndarray:
    def factors_of(signals: Sequence[SignalSpec]) -> list[float | None]:
        return _factors(signals, units, path, some=False)

    if header.segments:
        return read_segments(header, path.parent, window, factors_of, _read_one)
    return _read_one(header, path, window, factors_of(header.signals))


def _read_one(
    header: Header, path: Path, window: Window, factors: Sequence[float | None]
) -> np.ndarray:
    """Read a part of a record of one segment, by the fast path where that can."""
    if is_plain(header):
        return read_plain(header, path.parent, window, factors)
    return read_by_package(header, path, window, factors)


def _factors(
    signals: Sequence[SignalSpec], units: str | None, path: Path, some: bool = True
) -> list[float | None]:
    """Return millivolts in one unit of each signal, None for a signal to leave out;
    ``some`` must remain.
    """
    if units is not None:
        return [require_voltage(units, str(path))] * len(signals)
    factors = [mv_per_unit(signal.units) for signal in signals]
    if some and factors.count(None) == len(factors):
        require_voltage(signals[0].units, str(path))
    return factors


def _kept_names(
    signals: Sequence[SignalSpec], factors: Sequence[float | None]
) -> tuple[list[str], int]:
    names = [
        signal.lead
        for signal, factor in zip(signals, factors, strict=True)
        if factor is not None
    ]
    return names, len(names)


def _metadata(
    header: Header, signals: Sequence[SignalSpec], factors: Sequence[float | None]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    metadata = parse_comments(header.comments)
    flags: tuple[str, ...] = ()
    if None in factors:
        metadata["dropped"] = [
            s.lead for s, factor in zip(signals, factors, strict=True) if factor is None
        ]
        flags = ("dropped_signals",)
    if gain_is_known_wrong([signal.gain for signal in signals], metadata["fields"]):
        flags += ("implausible_gain",)
    return metadata, flags
