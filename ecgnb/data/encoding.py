"""How signals lie in a shard: numbers, scales, and the hashes that tell them apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

#: Largest value, in mV, that is stored as float16 without a scale.
FLOAT16_LIMIT = 60_000.0


def quantise(signal: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write float32 ``[n_leads, n_samples]`` (mV) into ``out`` and return the scale a lead, float32 ``[n_leads]``.

    ``signal = out * scale``. With int16 a lead's largest magnitude is 32767 steps, so the error is at most half of
    1/32767 of it: as fine as the 16-bit converter that the signal came from. float16 has scale 1.
    """
    peak = np.maximum(signal.max(axis=1), -signal.min(axis=1))
    whole = out.dtype == np.int16
    if whole:
        scale = np.where(peak > 0, peak / np.float32(32767), np.float32(1)).astype(np.float32)
    else:
        scale = np.maximum(peak / np.float32(FLOAT16_LIMIT), np.float32(1)).astype(np.float32)
    steps = signal * (np.float32(1) / scale)[:, None]
    # Rounding of 1 / scale moves the peak by far less than half a step, so 32767 is not passed.
    out[...] = np.rint(steps, out=steps) if whole else steps
    return scale


def signal_hash(stored: np.ndarray) -> str:
    """Return the SHA-1 of a record's stored numbers.

    The scale is left out: the same recording with another gain is the same recording.
    """
    return hashlib.sha1(stored.data, usedforsecurity=False).hexdigest()


def shard_checksum(scales: Path, signal_hashes: Sequence[str]) -> str:
    """Return the SHA-256 of a shard: of its file of scales and of the hashes of its signals in order."""
    digest = hashlib.sha256(scales.read_bytes())
    digest.update("\n".join(signal_hashes).encode())
    return digest.hexdigest()


def write_npy_header(file: BinaryIO, shape: tuple[int, ...], dtype: str) -> None:
    """Write the header of an ``.npy`` file at its beginning.

    It can be written again with another first dimension: numpy leaves room for it to grow.
    """
    file.seek(0)
    description = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)
