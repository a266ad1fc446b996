"""Reader of WFDB records: a header beside one or several signal files."""

from __future__ import annotations

from pathlib import Path

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import (
    READERS,
    Reader,
    ReadRequest,
    require_voltage,
    resolve_fs,
    resolve_leads,
    resolve_window,
)
from ecgnb.data.readers.header_comments import parse_comments
from ecgnb.data.readers.plausibility import gain_is_known_wrong
from ecgnb.data.readers.wfdb_files import signal_length
from ecgnb.data.readers.wfdb_header import header_path, read_header
from ecgnb.data.readers.wfdb_segments import (
    kept_leads,
    layout_signals,
    mv_factors,
    read_segment,
    read_segments,
    segments_length,
)
from ecgnb.data.recording import Recording


@READERS.register("wfdb")
class WfdbReader(Reader):
    """WFDB records, in every format and layout that PhysioNet uses.

    Signals in units that are not voltages (a pressure beside the electrocardiogram) are
    dropped: flag ``dropped_signals``, their names in ``metadata["dropped"]``. A record
    without any other signal is refused.
    """

    suffixes = (".hea",)

    def read(self, path: Path, request: ReadRequest) -> Recording:
        """Read the record that ``path`` (header, signal file or name without extension)
        belongs to.
        """
        path = header_path(path)
        header = read_header(path)
        signals = header.signals
        if header.segments:
            signals = layout_signals(header, path.parent)
        if not signals:
            raise ReadError(
                "no_signal",
                f"The header {path} has no signals. Give the path of another record.",
            )
        if header.segments:
            total = segments_length(header)
        else:
            total = signal_length(header, path.parent)
        window = resolve_window(request, total, path)
        fs, fs_flags = resolve_fs(request, header.fs, path)
        factors = mv_factors(signals, request.units, path)
        if factors.count(None) == len(factors):
            require_voltage(signals[0].units, str(path))
        if header.segments:
            signal = read_segments(header, path.parent, window, request.units)
        else:
            signal = read_segment(header, path, window, factors)
        kept = kept_leads(signals, factors)
        leads, lead_flags = resolve_leads(request, kept, len(kept), path)
        metadata = parse_comments(header.comments)
        flags = header.flags + fs_flags + lead_flags
        if None in factors:
            pairs = zip(signals, factors, strict=True)
            metadata["dropped"] = [
                spec.lead for spec, factor in pairs if factor is None
            ]
            flags += ("dropped_signals",)
        if gain_is_known_wrong([spec.gain for spec in signals], metadata["fields"]):
            flags += ("implausible_gain",)
        return Recording(
            signal=signal,
            fs=fs,
            leads=leads,
            record_id=request.record_id or path.stem,
            patient_id=metadata.pop("patient_id"),
            metadata=metadata,
            flags=flags,
        )
