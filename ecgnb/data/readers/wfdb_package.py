"""Every other single-segment WFDB record, by way of the `wfdb` package: packed formats, FLAC, skew, frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgnb.data.readers.units import scale_to_mv
from ecgnb.data.readers.wfdb_files import check_length
from ecgnb.data.readers.wfdb_header import Header
from ecgnb.errors import ReadError

_DIFFERENCES = 8  # a format that stores differences: it can only be read from its first sample on


def read_by_package(
    header: Header, path: Path, start: int, stop: int, factors: Sequence[float | None], n_samples: int
) -> np.ndarray:
    """Read samples ``start`` to ``stop`` of a record with `wfdb.rdrecord`.

    Args:
        header: the record's header.
        path: the path of that header.
        start: first sample.
        stop: sample after the last.
        factors: millivolts in one unit of each signal; None for a signal that is left out.
        n_samples: length of the record, which all of its files must have.

    Returns:
        float32 ``[n_kept, stop - start]`` in mV, NaN where a sample is invalid. Signals with several samples a frame
        are averaged over the frame, as the package does.

    Raises:
        ReadError: ``truncated``, ``missing_file``, ``unsafe_path``, ``header``, or ``unreadable`` when the package
            refuses the record.
    """
    check_length(header, path.parent, n_samples)
    import wfdb

    first = 0 if _DIFFERENCES in header.formats else start
    try:
        record = wfdb.rdrecord(str(path.with_suffix("")), sampfrom=first, sampto=stop)
    except Exception as error:  # the package raises whatever numpy, soundfile or pandas raise
        raise ReadError(
            "unreadable", f"The wfdb package cannot read {path}: {error}. Check the header, or fetch the record again."
        ) from error
    physical = record.p_signal[start - first :]
    result = np.empty((sum(factor is not None for factor in factors), stop - start), dtype=np.float32)
    kept = [(column, factor) for column, factor in enumerate(factors) if factor is not None]
    for row, (column, factor) in enumerate(kept):
        result[row] = scale_to_mv(physical[:, column].copy(), factor)
    return result
