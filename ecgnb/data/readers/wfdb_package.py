"""Every other single-segment WFDB record, by way of the `wfdb` package: packed formats,
FLAC, skew, frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import Window, scale_to_mv
from ecgnb.data.readers.wfdb_files import check_length
from ecgnb.data.readers.wfdb_header import Header

_DIFFERENCES = (
    8  # a format that stores differences: it can only be read from its first sample on
)


def read_by_package(
    header: Header, path: Path, window: Window, factors: Sequence[float | None]
) -> np.ndarray:
    """Read a part of a record with `wfdb.rdrecord`.

    Args:
        header: the record's header.
        path: the path of that header.
        window: the part to read.
        factors: millivolts in one unit of each signal; None for a signal that is left
            out.

    Returns:
        float32 ``[n_kept, window.n_samples]`` in mV, NaN where a sample is invalid.
        Several samples a frame are averaged, as the package does.

    Raises:
        ReadError: ``truncated``, ``missing_file``, ``unsafe_path``, ``header``, or
            ``unreadable`` when the package refuses the record.
    """
    check_length(header, path.parent, window.total)
    import wfdb

    unstated = (
        header.n_samples is None
    )  # the package then takes the length from the file, but reads only all of it
    first = 0 if unstated or _DIFFERENCES in header.formats else window.start
    try:
        record = wfdb.rdrecord(
            str(path.with_suffix("")),
            sampfrom=first,
            sampto=None if unstated else window.stop,
        )
    except (
        Exception
    ) as error:  # the package raises whatever numpy, soundfile or pandas raise
        raise ReadError(
            "unreadable",
            f"The wfdb package cannot read {path}: {error}. Check the header, or fetch the record again.",
        ) from error
    _require_same_reading(header, record, path)
    physical = record.p_signal[window.start - first : window.stop - first]
    if physical.shape != (window.n_samples, header.n_leads):
        raise ReadError(
            "unreadable",
            f"The wfdb package reads {len(physical)} samples of {path}. Check its header.",
        )
    kept = [
        (column, factor) for column, factor in enumerate(factors) if factor is not None
    ]
    result = np.empty((len(kept), window.n_samples), dtype=np.float32)
    for row, (column, factor) in enumerate(kept):
        result[row] = scale_to_mv(physical[:, column].copy(), factor)
    return result


def _require_same_reading(header: Header, record: Any, path: Path) -> None:
    """Refuse a header so odd that the package takes other numbers from it than we
    do.
    """
    same = (
        tuple(record.adc_gain) == header.gains
        and tuple(record.baseline) == header.baselines
    )
    if not same or [int(form) for form in record.fmt] != list(header.formats):
        raise ReadError(
            "header",
            f"The header {path} can be read in two ways. Write its fields apart, as WFDB does.",
        )
