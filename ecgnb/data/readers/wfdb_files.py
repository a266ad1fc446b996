"""Signal files of a WFDB header: safe paths, lengths, truncation.

Lengths stated in a header are checked against the sizes of the files before memory is
reserved.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import explained_os_errors
from ecgnb.data.readers.wfdb_header import Header

#: Bytes per sample, by storage format:
#: https://physionet.org/physiotools/wag/signal-5.htm
BYTES_PER_SAMPLE: dict[int, int | Fraction] = {
    8: 1,
    16: 2,
    24: 3,
    32: 4,
    61: 2,
    80: 1,
    160: 2,
    212: Fraction(3, 2),
    310: Fraction(4, 3),
    311: Fraction(4, 3),
}
#: Formats of FLAC files, which state their length in their first bytes.
COMPRESSED = (508, 516, 524)

_STREAMINFO_BYTES = 26
_SAMPLES_36_BIT = (1 << 36) - 1


def safe_path(folder: Path, name: str, header: str) -> Path:
    """Return ``folder / name``; refuse names with a folder as ``unsafe_path``."""
    if name in ("", ".", "..") or not set(name).isdisjoint("/\\:\0"):
        raise ReadError(
            "unsafe_path",
            f"The header {header} names the file {name!r}. "
            "Only files beside the header are read.",
        )
    return folder / name


def signals_by_file(header: Header) -> dict[str, list[int]]:
    """Return the indices of the signals in each signal file, in the order in which the
    file interleaves them.
    """
    indices: dict[str, list[int]] = {}
    for index, signal in enumerate(header.signals):
        indices.setdefault(signal.file, []).append(index)
    return indices


def signal_length(header: Header, folder: Path) -> int:
    """Return the samples per signal: as stated in the header, else by the size of the
    first signal file.
    """
    if header.n_samples is not None:
        return header.n_samples
    name, indices = next(iter(signals_by_file(header).items()))
    first = header.signals[indices[0]]
    path = safe_path(folder, name, header.record_name)
    with explained_os_errors(path), open(path, "rb") as file:
        if first.format in COMPRESSED:
            raise ReadError(
                "header",
                f"The header of {path} does not state the samples of its FLAC file.",
            )
        n_bytes = os.fstat(file.fileno()).st_size
    n_sample_bytes = max(0, n_bytes - first.byte_offset)
    return n_sample_bytes // _bytes_per_record_sample(header, indices, path)


def check_length(header: Header, folder: Path, n_samples: int) -> None:
    """Check that all signal files hold ``n_samples`` samples per signal.

    Raises:
        ReadError: ``truncated``, a file is too short.
    """
    for name, indices in signals_by_file(header).items():
        first = header.signals[indices[0]]
        path = safe_path(folder, name, header.record_name)
        with explained_os_errors(path), open(path, "rb") as file:
            if first.format in COMPRESSED:
                expected = n_samples * first.samples_per_frame
                require_bytes(path, expected, _flac_samples(file), "samples")
                continue
            # int(): the last bytes of a packed format may be missing
            needed = int(n_samples * _bytes_per_record_sample(header, indices, path))
            n_bytes = os.fstat(file.fileno()).st_size
            require_bytes(path, first.byte_offset + needed, n_bytes)


def require_bytes(path: Path, expected: int, actual: int, what: str = "bytes") -> None:
    """Raise ``truncated`` where a file has less than expected."""
    if actual < expected:
        raise ReadError(
            "truncated",
            f"{path} is truncated: its header needs {expected} {what}, "
            f"it has {actual}. Fetch it again.",
        )


def _bytes_per_record_sample(
    header: Header, indices: Sequence[int], path: Path
) -> int | Fraction:
    """Return the bytes that one sample of all signals in a file takes."""
    storage_format = header.signals[indices[0]].format
    if storage_format not in BYTES_PER_SAMPLE:
        raise ReadError(
            "header",
            f"{path} is stored in format {storage_format}, which WFDB does not have.",
        )
    frame = sum([header.signals[index].samples_per_frame for index in indices])
    return BYTES_PER_SAMPLE[storage_format] * frame


def _flac_samples(file: BinaryIO) -> int:
    """Return the samples per channel that the first block of a FLAC file states."""
    start = file.read(_STREAMINFO_BYTES)
    if len(start) < _STREAMINFO_BYTES or start[:4] != b"fLaC":
        return 0
    # a 36-bit number, https://www.rfc-editor.org/rfc/rfc9639.html#section-8.2
    return int.from_bytes(start[18:26], "big") & _SAMPLES_36_BIT
