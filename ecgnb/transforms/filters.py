"""Zero-phase linear filters: windowed-sinc kernels, applied by FFT, reflected ends."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from ecgnb.transforms.batching import take_samples, valid_bounds

#: Taps times transition width over sampling rate, for a Hamming window (-53 dB in the
#: stop band).
_HAMMING = 3.3


def low_pass(cutoff: float, width: float, fs: float) -> np.ndarray:
    """Return a symmetric low-pass kernel of odd length.

    The gain is 1 at 0 Hz and 1/2 at ``cutoff``.

    Args:
        cutoff: in Hz.
        width: of the transition around the cutoff, in Hz.
        fs: sampling rate in Hz.
    """
    n = _sample_numbers(width, fs)
    sinc = np.sinc(2 * cutoff / fs * n)
    kernel = sinc * np.hamming(len(n))
    return kernel / kernel.sum()


def high_pass(cutoff: float, width: float, fs: float) -> np.ndarray:
    """Return a symmetric high-pass kernel: an impulse minus the low-pass, so the gain
    at 0 Hz is 0.
    """
    return _impulse_minus(low_pass(cutoff, width, fs))


def band_stop(frequency: float, width: float, fs: float) -> np.ndarray:
    """Return a symmetric kernel with gain 0 at ``frequency`` and 1 at a distance of
    ``width`` (both in Hz).
    """
    n = _sample_numbers(width, fs)
    wave = np.cos(2 * np.pi * frequency / fs * n)
    window = np.hamming(len(n))
    gain = (window * wave**2).sum()  # of the windowed wave, at its frequency
    return _impulse_minus(window * wave / gain)


def filter_zero_phase(x: Tensor, kernel: np.ndarray, mask: Tensor | None) -> Tensor:
    """Convolve every lead with a symmetric kernel; no phase, no delay.

    The valid part of a record is continued by its mirror image beyond its ends. So a
    padded record gives the same result as the record alone.

    Args:
        x: ``[B, n_leads, n_samples]``.
        kernel: float64 ``[2 * half + 1]``.
        mask: bool ``[B, n_samples]`` or ``None``.
    """
    half = len(kernel) // 2
    extended = reflect(x, half, half, mask)
    length = next_fast_len(extended.shape[-1], real=True)
    response = torch.from_numpy(_response(kernel.tobytes(), length))
    spectrum = torch.fft.rfft(extended, length) * response.to(x)
    filtered = torch.fft.irfft(spectrum, length)
    return filtered[..., half : half + x.shape[-1]]


def reflect(x: Tensor, before: int, after: int, mask: Tensor | None) -> Tensor:
    """Continue the valid part of each record by its mirror image over padding and both
    ends, repeatedly where needed.

    Returns:
        ``[B, n_leads, before + n_samples + after]``.
    """
    n_samples = x.shape[-1]
    start, count = valid_bounds(mask, x)
    position = torch.arange(-before, n_samples + after, device=x.device)
    # A signal and its mirror image without the two end samples are one period.
    period = (2 * (count - 1)).clamp(min=1)
    phase = (position - start).remainder(period)
    index = start + torch.minimum(phase, period - phase)
    return take_samples(x, index.clamp(max=n_samples - 1))


def _sample_numbers(width: float, fs: float) -> np.ndarray:
    """Return the sample numbers of a kernel, 0 in its centre."""
    half = math.ceil(_HAMMING * fs / width / 2)
    half = max(1, half)
    return np.arange(-half, half + 1)


def _impulse_minus(kernel: np.ndarray) -> np.ndarray:
    result = -kernel
    result[len(kernel) // 2] += 1.0
    return result


@functools.lru_cache(maxsize=64)
def _response(kernel: bytes, length: int) -> np.ndarray:
    """Return the frequency response of a symmetric kernel for a real FFT of ``length``.

    It is real because the kernel is centred at sample 0, with negative times at the
    end.
    """
    taps = np.frombuffer(kernel)
    padded = np.zeros(length)
    padded[: len(taps)] = taps
    centred = np.roll(padded, -(len(taps) // 2))
    return np.fft.rfft(centred).real.copy()
