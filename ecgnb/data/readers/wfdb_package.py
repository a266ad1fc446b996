"""WFDB signals in rarer formats (packed, FLAC, skewed), by the `wfdb` package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import Window, scale_to_mv
from ecgnb.data.readers.wfdb_files import check_length
from ecgnb.data.readers.wfdb_header import Header

#: The format that stores differences, so that it is read from its first sample on.
_DIFFERENCES = 8


def read_by_package(
    header: Header,
    path: Path,
    window: Window,
    factors: Sequence[float | None],
) -> np.ndarray:
    """Read a part of a record with `wfdb.rdrecord`.

    Args:
        header: the record's header.
        path: the path of that header.
        window: the part to read.
        factors: millivolts per unit of each signal; None for a signal to drop.

    Returns:
        float32 ``[n_kept, window.n_samples]`` in mV, NaN where a sample is invalid.
        Several samples per frame are averaged, as the package does.

    Raises:
        ReadError: ``truncated``, ``missing_file``, ``unsafe_path``, ``header``, or
            ``unreadable`` when the package refuses the record.
    """
    check_length(header, path.parent, window.total)
    import wfdb

    # Without a stated length the package can only read the whole file.
    read_all = header.n_samples is None
    has_differences = any(signal.format == _DIFFERENCES for signal in header.signals)
    first = 0 if read_all or has_differences else window.start
    try:
        record = wfdb.rdrecord(
            str(path.with_suffix("")),
            sampfrom=first,
            sampto=None if read_all else window.stop,
        )
    except Exception as error:  # whatever numpy, soundfile or pandas raise
        raise ReadError(
            "unreadable",
            f"The wfdb package cannot read {path}: {error}. "
            "Check the header, or fetch the record again.",
        ) from error
    _require_same_header(header, record, path)
    physical = record.p_signal[window.start - first : window.stop - first]
    if physical.shape != (window.n_samples, header.n_leads):
        raise ReadError(
            "unreadable",
            f"The wfdb package reads {len(physical)} samples of {path}. "
            "Check its header.",
        )
    n_kept = len(factors) - factors.count(None)  # 0 in some segments
    result = np.empty((n_kept, window.n_samples), dtype=np.float32)
    row = 0
    for column, factor in enumerate(factors):
        if factor is not None:
            result[row] = scale_to_mv(physical[:, column].copy(), factor)
            row += 1
    return result


def _require_same_header(header: Header, record: Any, path: Path) -> None:
    """Refuse a header from which the package parses other numbers than we do."""
    formats = map(int, record.fmt)
    by_package = list(zip(record.adc_gain, record.baseline, formats, strict=True))
    if by_package != [(s.gain, s.baseline, s.format) for s in header.signals]:
        raise ReadError(
            "header",
            f"The header {path} can be read in two ways. "
            "Separate its fields by spaces, as WFDB does.",
        )
