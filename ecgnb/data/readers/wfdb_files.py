"""The signal files that a WFDB header names: are they inside its folder, there, and
long enough?

A header's word about lengths is checked against the sizes of the files before any
memory is reserved.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import explained_os_errors
from ecgnb.data.readers.wfdb_header import Header, SignalSpec

#: Bytes of one sample, by storage format:
#: https://physionet.org/physiotools/wag/signal-5.htm
BYTES_A_SAMPLE = {
    8: Fraction(1), 16: Fraction(2), 24: Fraction(3), 32: Fraction(4), 61: Fraction(2), 80: Fraction(1),
    160: Fraction(2), 212: Fraction(3, 2), 310: Fraction(4, 3), 311: Fraction(4, 3),
}  # fmt: skip
#: FLAC files; their length stands in their first bytes.
COMPRESSED = (508, 516, 524)

_STREAMINFO_BYTES = 26
_SAMPLES_36_BIT = (1 << 36) - 1


def safe_path(folder: Path, name: str, header: str) -> Path:
    """Return ``folder / name``; a name that leads out of the folder is refused as
    ``unsafe_path``.
    """
    if any(sign in name for sign in "/\\:\0") or name in ("", ".", ".."):
        raise ReadError(
            "unsafe_path",
            f"The header {header} names the file {name!r}. Only files beside the header are read.",
        )
    return folder / name


def files_of(header: Header) -> Iterator[tuple[str, list[int]]]:
    """Yield each signal file with the indices of its signals, in the order in which the
    file interleaves them.
    """
    groups: dict[str, list[int]] = {}
    for index, signal in enumerate(header.signals):
        groups.setdefault(signal.file, []).append(index)
    yield from groups.items()


def signal_length(header: Header, folder: Path) -> int:
    """Return the samples a signal: the header's word, else what the size of the first
    signal file says.
    """
    if header.n_samples is not None:
        return header.n_samples
    name, rows = next(files_of(header))
    first = header.signals[rows[0]]
    path = safe_path(folder, name, header.record_name)
    with explained_os_errors(path), open(path, "rb") as file:
        frame = sum(header.signals[row].samples_per_frame for row in rows)
        return int(
            max(0, _size(file, first, path) - first.byte_offset)
            / (_bytes_a_sample(first, path) * frame)
        )


def check_length(header: Header, folder: Path, n_samples: int) -> None:
    """Refuse as ``truncated`` when one of the signal files is too short for
    ``n_samples`` samples a signal.
    """
    for name, rows in files_of(header):
        first = header.signals[rows[0]]
        path = safe_path(folder, name, header.record_name)
        frame = sum(header.signals[row].samples_per_frame for row in rows)
        with explained_os_errors(path), open(path, "rb") as file:
            if first.format in COMPRESSED:
                require_bytes(
                    path,
                    n_samples * first.samples_per_frame,
                    _flac_samples(file),
                    "samples",
                )
                continue
            needed = n_samples * frame * _bytes_a_sample(first, path)
            # The last bytes of a packed format may be left out.
            require_bytes(
                path, first.byte_offset + int(needed), _size(file, first, path)
            )


def require_bytes(path: Path, expected: int, found: int, what: str = "bytes") -> None:
    """Raise the `ReadError` of a truncated file unless there is as much as expected."""
    if found < expected:
        raise ReadError(
            "truncated",
            f"{path} is truncated: its header needs {expected} {what}, it has {found}. Fetch it again.",
        )


def _size(file: BinaryIO, signal: SignalSpec, path: Path) -> int:
    if signal.format in COMPRESSED:
        raise ReadError(
            "header",
            f"The header of {path} does not say how many samples its FLAC file has.",
        )
    return os.fstat(file.fileno()).st_size


def _bytes_a_sample(signal: SignalSpec, path: Path) -> Fraction:
    if signal.format not in BYTES_A_SAMPLE:
        raise ReadError(
            "header",
            f"{path} is stored in format {signal.format}, which WFDB does not have.",
        )
    return BYTES_A_SAMPLE[signal.format]


def _flac_samples(file: BinaryIO) -> int:
    """Return the samples a channel that a FLAC file announces in its first block (36
    bits from byte 21.5 on).
    """
    start = file.read(_STREAMINFO_BYTES)
    if len(start) < _STREAMINFO_BYTES or start[:4] != b"fLaC":
        return 0
    return int.from_bytes(start[18:26], "big") & _SAMPLES_36_BIT
