"""WFDB signals in format 16 (int16): fast, and bit for bit equal to the `wfdb` package.

The package computes (sample - baseline) / gain in float64. Rounded to float32, that is
exactly the float32 quotient where numerator and gain are float32 numbers: a quotient
rounded to 53 bits and then to 24 equals the one rounded to 24 at once, as 53 >= 2 * 24
+ 2 (S. A. Figueroa, When is double rounding innocuous?, SIGNUM 30(3), 1995). Most gains
are integers, so most recordings never need float64.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import numpy as np

from ecgnb.data.readers.base import Window, explained_os_errors, scale_to_mv
from ecgnb.data.readers.wfdb_files import require_bytes, safe_path, signals_by_file
from ecgnb.data.readers.wfdb_header import Header, SignalSpec

#: The sample value that means "no value" in format 16.
INVALID = -32768

#: |sample - baseline| then is below 2**24, where float32 holds every integer.
_EXACT_BASELINE = 2**23


def is_plain(header: Header) -> bool:
    """Return whether all signals are in format 16, without frames and skew."""
    layouts = {(s.format, s.samples_per_frame, s.skew) for s in header.signals}
    return layouts <= {(16, 1, 0)}


def read_plain(
    header: Header,
    folder: Path,
    window: Window,
    factors: Sequence[float | None],
) -> np.ndarray:
    """Read a part of a record for which `is_plain` holds.

    Args:
        header: the record's header.
        folder: the folder of its signal files.
        window: the part to read.
        factors: millivolts per unit of each signal; None for a signal to drop.

    Returns:
        float32 ``[n_kept, window.n_samples]`` in mV, NaN where a sample is invalid.

    Raises:
        ReadError: ``truncated``, ``missing_file``, ``permission`` or ``unsafe_path``.
    """
    mv_per_units = np.array(factors, dtype=np.float64)  # NaN for None
    is_kept = ~np.isnan(mv_per_units)
    parts: list[np.ndarray] = []
    order: list[int] = []
    for name, indices in signals_by_file(header).items():
        kept = [index for index in indices if is_kept[index]]
        if not kept:
            continue
        stored = _read_file(header, folder, name, indices, window)
        if len(kept) < len(indices):
            stored = stored[:, is_kept[indices]]
        signals = [header.signals[index] for index in kept]
        parts.append(to_millivolts(stored, signals, mv_per_units[kept].tolist()))
        order += kept
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts)[np.argsort(order)]


def _read_file(
    header: Header,
    folder: Path,
    name: str,
    indices: Sequence[int],
    window: Window,
) -> np.ndarray:
    """Return the interleaved samples of one file, int16 ``[window.n_samples, n]``."""
    path = safe_path(folder, name, header.record_name)
    # one offset holds for a whole file: the first signal's, as in the WFDB library
    offset = header.signals[indices[0]].byte_offset
    frame = 2 * len(indices)  # bytes
    with explained_os_errors(path), open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        require_bytes(path, offset + window.total * frame, size)
        file.seek(offset + window.start * frame)
        content = _read_bytes(file, window.n_samples * frame, path)
    return content.view("<i2").reshape(window.n_samples, len(indices))


def _read_bytes(file: FileIO, count: int, path: Path) -> np.ndarray:
    """Return the next ``count`` bytes; one read may return less than the whole file."""
    content = np.empty(count, dtype=np.uint8)
    done = 0
    while done < count:
        n_bytes = file.readinto(content[done:])  # type: ignore[arg-type]  # an array is a buffer
        if not n_bytes:
            require_bytes(path, count, done)
        done += n_bytes
    return content


def to_millivolts(
    stored: np.ndarray,
    signals: Sequence[SignalSpec],
    factors: Sequence[float],
) -> np.ndarray:
    """Convert int16 ``[n, k]`` to float32 ``[k, n]`` in mV, invalid samples to NaN."""
    gains = [signal.gain for signal in signals]
    baselines = [signal.baseline for signal in signals]
    float32_gains = np.array(gains, dtype=np.float32)
    if (
        factors.count(1.0) == len(factors)
        and float32_gains.tolist() == gains
        and max(map(abs, baselines)) <= _EXACT_BASELINE
    ):
        result = stored.T.astype(np.float32, order="C")
        if any(baselines):
            result -= np.array(baselines, dtype=np.float32)[:, None]
        result /= float32_gains[:, None]
    else:
        result = np.empty(stored.shape[::-1], dtype=np.float32)
        # lead by lead, so that the float64 values stay in the processor's cache
        for row, (signal, factor) in enumerate(zip(signals, factors, strict=True)):
            values = stored[:, row].astype(np.float64)
            values -= signal.baseline
            values /= signal.gain
            result[row] = scale_to_mv(values, factor)
    if stored.min() == INVALID:
        result[stored.T == INVALID] = np.nan
    return result
