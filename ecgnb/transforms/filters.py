"""Zero-phase linear filters: windowed-sinc kernels, and their application by FFT with
reflected ends.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from ecgnb.transforms.batching import take_samples, valid_bounds

#: Taps times transition width over sampling rate, for a Hamming window (-53 dB in the
#: stop band).
_HAMMING = 3.3


def low_pass(cutoff: float, width: float, fs: float) -> np.ndarray:
    """Return a symmetric low-pass kernel of odd length, gain 1 at 0 Hz and 1/2 at
    ``cutoff``.

    Args:
        cutoff: in Hz.
        width: of the transition around the cutoff, in Hz.
        fs: samples a second.
    """
    half = _half_length(width, fs)
    n = np.arange(-half, half + 1)
    kernel = np.sinc(2 * cutoff / fs * n) * np.hamming(2 * half + 1)
    return kernel / kernel.sum()


def high_pass(cutoff: float, width: float, fs: float) -> np.ndarray:
    """Return a symmetric high-pass kernel: an impulse less the low-pass, so the gain at
    0 Hz is 0.
    """
    return _impulse_less(low_pass(cutoff, width, fs))


def band_stop(frequency: float, width: float, fs: float) -> np.ndarray:
    """Return a symmetric kernel whose gain is 0 at ``frequency`` and 1 away from it by
    ``width`` (both in Hz).
    """
    half = _half_length(width, fs)
    wave = np.cos(2 * np.pi * frequency / fs * np.arange(-half, half + 1))
    window = np.hamming(2 * half + 1)
    return _impulse_less(window * wave / (window * wave**2).sum())


def cascade(kernels: list[np.ndarray]) -> np.ndarray:
    """Return the one symmetric kernel that does the work of all, one after the
    other.
    """
    return functools.reduce(np.convolve, kernels)


def filter_zero_phase(x: Tensor, kernel: np.ndarray, mask: Tensor | None) -> Tensor:
    """Convolve every lead with a symmetric kernel; no phase, no delay.

    Beyond its ends the valid part of a record is continued by its mirror image, so a
    padded record gives what the record alone would give.

    Args:
        x: ``[B, n_leads, n_samples]``.
        kernel: float64 ``[2 * half + 1]``.
        mask: bool ``[B, n_samples]`` or ``None``.
    """
    half = len(kernel) // 2
    extended = reflect(x, half, half, mask)
    length = fast_length(extended.shape[-1])
    response = torch.from_numpy(_response(kernel.tobytes(), length)).to(x)
    filtered = torch.fft.irfft(torch.fft.rfft(extended, length) * response, length)
    return filtered[..., half : half + x.shape[-1]]


def reflect(x: Tensor, before: int, after: int, mask: Tensor | None) -> Tensor:
    """Continue the valid part of each record by its mirror image (as often as needed)
    over padding and both ends.

    Returns:
        ``[B, n_leads, before + n_samples + after]``.
    """
    start, count = valid_bounds(mask, x)
    position = torch.arange(-before, x.shape[-1] + after, device=x.device)
    period = (2 * (count - 1)).clamp(min=1)[:, None]
    phase = (position[None, :] - start[:, None]).remainder(period)
    index = start[:, None] + torch.minimum(phase, period - phase)
    return take_samples(x, index.clamp(max=x.shape[-1] - 1))


@functools.lru_cache(maxsize=256)
def fast_length(n: int) -> int:
    """Return the smallest product of powers of 2, 3 and 5 that is at least ``n``: FFTs
    of it are fast.

    >>> fast_length(8301)
    8640
    """
    best = 1 << max(n - 1, 0).bit_length()
    fives = 1
    while fives < best:
        threes = fives
        while threes < best:
            twos = 1 << max(math.ceil(n / threes) - 1, 0).bit_length()
            best = min(best, threes * twos)
            threes *= 3
        fives *= 5
    return best


def _half_length(width: float, fs: float) -> int:
    return max(1, math.ceil(_HAMMING * fs / width / 2))


def _impulse_less(kernel: np.ndarray) -> np.ndarray:
    result = -kernel
    result[len(kernel) // 2] += 1.0
    return result


@functools.lru_cache(maxsize=64)
def _response(kernel: bytes, length: int) -> np.ndarray:
    """Return the real frequency response of a symmetric kernel on the grid of a real
    FFT of ``length``.
    """
    taps = np.frombuffer(kernel)
    half = len(taps) // 2
    centred = np.zeros(length)
    centred[: half + 1] = taps[half:]
    centred[length - half :] = taps[:half]
    return np.fft.rfft(centred).real.copy()
