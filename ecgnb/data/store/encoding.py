"""Encoding of stored signals: int16 with one scale per record and lead, checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ecgnb.core.errors import ReadError, StoreError

#: Largest values, in mV, of a lead that is stored as float16 without a scale: below the
#: first its small samples would lose digits, the second is near the largest float16.
FLOAT16_RANGE = (np.float32(0.01), np.float32(60_000))
INT16_STEPS = np.float32(32767)
#: Largest value, in mV, of a lead for whose scale float32 has all its digits.
MIN_PEAK = np.float32(1e-30)


def quantise(signal: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write ``signal`` into ``out`` such that ``signal = out * scale``.

    With int16 the largest magnitude of a lead is 32767 steps, so the error is at most
    half of 1/32767 of it: as fine as the 16-bit converter of the recorder. float16 has
    scale 1 unless the lead's largest magnitude is outside `FLOAT16_RANGE`.

    Args:
        signal: float32 ``[n_leads, n_samples]`` in mV.
        out: int16 or float16 ``[n_leads, n_samples]``.

    Returns:
        The scale of each lead in mV per step, float32 ``[n_leads]``.

    Raises:
        ReadError: ``"amplitude"``, a lead is so small (but not 0), or not finite, that
            it would lose its precision.
    """
    one = np.float32(1)
    highest, lowest = signal.max(axis=1), signal.min(axis=1)
    peak = np.maximum(highest, -lowest)  # [n_leads], mV
    for row in np.flatnonzero(((peak > 0) & (peak < MIN_PEAK)) | ~np.isfinite(peak)):
        raise ReadError(
            "amplitude",
            f"The largest value in row {row} of the signal is {peak[row]:g} mV, which "
            f"{out.dtype} cannot store: correct the gain or unit in the file.",
        )
    if out.dtype == np.int16:
        scale = np.where(peak > 0, peak / INT16_STEPS, one)
    else:
        smallest, largest = FLOAT16_RANGE
        scale = np.maximum(peak / largest, one)
        scale = np.where((peak > 0) & (peak < smallest), peak, scale)
    steps_per_mv = one / scale
    steps = signal * steps_per_mv[:, None]
    if out.dtype == np.int16:
        # Rounding of steps_per_mv moves the peak by far less than half a step, so 32767
        # is not exceeded.
        np.rint(steps, out=steps)
    out[...] = steps
    return scale


def signal_hash(stored: np.ndarray) -> str:
    """Return the SHA-1 of a record's stored numbers.

    It does not include the scale: a recording with another gain has the same hash.
    """
    return hashlib.sha1(stored.data, usedforsecurity=False).hexdigest()


def map_array(path: Path) -> np.ndarray:
    """Map an array of the store.

    Raises:
        StoreError: its header is damaged.
    """
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped.view(np.ndarray)  # indexed faster than a memmap
    except (ValueError, EOFError, SyntaxError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} is damaged ({error}). Run the preparation again; it makes only "
            "what is missing or damaged."
        ) from error


def stored_hashes(signals: Path, scales: Path) -> tuple[str, list[str]]:
    """Read a shard from the disk; return its checksum and the hash of each record.

    It takes 0.8 s per GB when the file is in memory, and else what the disk takes.
    """
    stored = map_array(signals)
    hashes = list(map(signal_hash, stored))
    return shard_checksum(scales, hashes), hashes


def shard_checksum(scales: Path, signal_hashes: Sequence[str]) -> str:
    """Return the SHA-256 of a shard's file of scales and its signal hashes in order."""
    digest = hashlib.sha256(scales.read_bytes())
    digest.update("\n".join(signal_hashes).encode())
    return digest.hexdigest()


def write_npy_header(file: BinaryIO, shape: tuple[int, ...], dtype: str) -> None:
    """Write the header of an ``.npy`` file at its beginning.

    It may be written again with another first dimension: numpy pads the header.
    """
    file.seek(0)
    description = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, description)
