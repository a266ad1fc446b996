"""Signals stored in WFDB format 16: the fast path, equal to the last bit to the `wfdb`
package.

The package computes (sample - baseline) / gain in float64. Rounded to float32, that is
exactly the float32 quotient where numerator and gain are float32 numbers: a quotient
rounded to 53 bits and then to 24 equals the one rounded to 24 at once, as 53 >= 2 * 24
+ 2 (S. A. Figueroa, When is double rounding innocuous?, SIGNUM 30(3), 1995). Most gains
are whole numbers, so most recordings never see float64.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import numpy as np

from ecgnb.data.readers.base import Window, explained_os_errors, scale_to_mv
from ecgnb.data.readers.wfdb_files import files_of, require_bytes, safe_path
from ecgnb.data.readers.wfdb_header import Header, SignalSpec

#: The sample value that means "no value" in format 16.
INVALID = -32768

_EXACT_BASELINE = (
    2**23
)  # |sample - baseline| then stays below 2**24, where float32 holds every whole number


def is_plain(header: Header) -> bool:
    """Say whether every signal is stored in format 16, one sample a frame, without
    skew.
    """
    return all(
        s.format == 16 and s.samples_per_frame == 1 and s.skew == 0
        for s in header.signals
    )


def read_plain(
    header: Header, folder: Path, window: Window, factors: Sequence[float | None]
) -> np.ndarray:
    """Read a part of a record for which `is_plain` holds.

    Args:
        header: the record's header.
        folder: where its signal files are.
        window: the part to read.
        factors: millivolts in one unit of each signal; None for a signal that is left
            out.

    Returns:
        float32 ``[n_kept, window.n_samples]`` in mV, NaN where a sample is invalid.

    Raises:
        ReadError: ``truncated``, ``missing_file``, ``permission`` or ``unsafe_path``.
    """
    wanted = {
        index: factor for index, factor in enumerate(factors) if factor is not None
    }
    parts: list[np.ndarray] = []
    order: list[int] = []
    for name, members in files_of(header):
        kept = [member for member in members if member in wanted]
        if not kept:
            continue
        stored = _read_file(header, folder, name, members, window)
        if len(kept) < len(members):
            stored = stored[:, [members.index(member) for member in kept]]
        parts.append(
            to_millivolts(
                stored, [header.signals[i] for i in kept], [wanted[i] for i in kept]
            )
        )
        order += kept
    return parts[0] if len(parts) == 1 else np.concatenate(parts)[np.argsort(order)]


def _read_file(
    header: Header, folder: Path, name: str, members: Sequence[int], window: Window
) -> np.ndarray:
    """Return int16 ``[window.n_samples, n_members]``, the interleaved samples of one
    file.
    """
    path = safe_path(folder, name, header.record_name)
    # One offset holds for a whole file; the first signal's, as the WFDB library has it.
    offset = header.signals[members[0]].byte_offset
    frame = 2 * len(members)
    with explained_os_errors(path), open(path, "rb", buffering=0) as file:
        require_bytes(
            path, offset + window.total * frame, os.fstat(file.fileno()).st_size
        )
        if offset or window.start:
            file.seek(offset + window.start * frame)
        content = _read_bytes(file, window.n_samples * frame, path)
    return content.view("<i2").reshape(window.n_samples, len(members))


def _read_bytes(file: FileIO, count: int, path: Path) -> np.ndarray:
    """Return the next ``count`` bytes; the system may hand over large files in
    parts.
    """
    content = np.empty(count, dtype=np.uint8)
    done = 0
    while done < count:
        got = file.readinto(content[done:])  # type: ignore[arg-type]  # an array is a buffer
        if not got:
            require_bytes(path, count, done)
        done += got
    return content


def to_millivolts(
    stored: np.ndarray, signals: Sequence[SignalSpec], factors: Sequence[float]
) -> np.ndarray:
    """Convert int16 ``[n, k]`` to float32 ``[k, n]`` in mV, invalid samples to NaN."""
    gains = [signal.gain for signal in signals]
    baselines = [signal.baseline for signal in signals]
    exact = np.array(gains, dtype=np.float32)
    if (
        factors.count(1.0) == len(factors)
        and exact.tolist() == gains
        and max(map(abs, baselines)) <= _EXACT_BASELINE
    ):
        result = stored.T.astype(np.float32, order="C")
        if any(baselines):
            result -= np.array(baselines, dtype=np.float32)[:, None]
        result /= exact[:, None]
    else:
        result = _by_float64(stored, signals, factors)
    if stored.min() == INVALID:
        result[stored.T == INVALID] = np.nan
    return result


def _by_float64(
    stored: np.ndarray, signals: Sequence[SignalSpec], factors: Sequence[float]
) -> np.ndarray:
    result = np.empty(stored.shape[::-1], dtype=np.float32)
    for row, (signal, factor) in enumerate(zip(signals, factors, strict=True)):
        values = stored[:, row].astype(
            np.float64
        )  # lead by lead, so that the intermediate stays in the cache
        values -= signal.baseline
        values /= signal.gain
        result[row] = scale_to_mv(values, factor)
    return result
