"""Resampling of all leads at once: a polyphase low-pass by FFT, and linear.

The filter is that of a polyphase resampler: a linear-phase low-pass with a Kaiser
window (Kaiser 1974) at the lower of the two rates. It is applied in the frequency
domain, where a long and therefore steep filter costs as little as a short one; the
result is that of ``scipy.signal.resample_poly`` with the same filter to 2e-5 of the
signal.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
import scipy.fft

from ecgnb.core.errors import ReadError

#: End of the pass band relative to the lower Nyquist frequency, where the stop band
#: begins.
PASS_BAND = 0.9
#: Attenuation in the stop band, dB.
STOP_BAND_DB = 80.0
_TRANSITION = math.pi * (1 - PASS_BAND)  # width in radians per sample
#: Half the filter's length in samples of the lower rate, by Kaiser's formula: 51.
REACH = math.ceil((STOP_BAND_DB - 7.95) / (2.285 * _TRANSITION) / 2)
#: Grid on which the filter's frequency response is computed, as a multiple of the lower
#: rate.
FINE = 16
#: Largest relative error of a rate that is replaced by a ratio of whole numbers: 1
#: sample in 100,000.
RATE_TOLERANCE = 1e-5
#: Largest whole number in such a ratio.
MAX_FACTOR = 10_000


@lru_cache(maxsize=256)
def resampling_ratio(fs: float, target_fs: float) -> tuple[int, int]:
    """Return the smallest whole numbers with ``target_fs = fs * up / down``.

    A rate without such a ratio gets the simplest one within 1 part in 100,000, less
    than the error of a crystal.

    Raises:
        ReadError: ``"rate"`` when no ratio of numbers up to 10,000 is near enough.

    >>> resampling_ratio(360, 500)
    (25, 18)
    """
    exact = target_fs / fs
    for largest in (100, 1000, MAX_FACTOR):
        ratio = Fraction(exact).limit_denominator(largest)
        up, down = ratio.as_integer_ratio()
        error = abs(up / down / exact - 1)
        if 0 < up <= MAX_FACTOR and error <= RATE_TOLERANCE:
            return up, down
    raise ReadError(
        "rate",
        f"No ratio of whole numbers up to {MAX_FACTOR} turns {fs!r} Hz into "
        f"{target_fs!r} Hz. Correct the rate in the header or choose another "
        "TARGET_FS.",
    )


def resampled_length(n_samples: int, up: int, down: int) -> int:
    """Return the number of output samples within the duration of ``n_samples``."""
    return _divide_up(n_samples * up, down)


def filter_reach(up: int, down: int) -> int:
    """Return the input samples on each side that influence an output sample."""
    return _divide_up(REACH * max(up, down), up)


def resample(signal: np.ndarray, fs: float, target_fs: float) -> np.ndarray:
    """Resample float32 ``[n_leads, n_samples]`` from ``fs`` to ``target_fs`` (Hz).

    Frequencies up to 90 % of the lower Nyquist frequency are kept within 0.1 %; those
    above it are attenuated by 80 dB. The signal is continued with its first and last
    value. At equal rates the signal itself is returned.

    Returns:
        float32 ``[n_leads, ceil(n_samples * target_fs / fs)]``; its first sample is at
        the time of the input's first.

    Raises:
        ReadError: ``"rate"`` when the ratio of the rates is no ratio of small whole
            numbers.
    """
    up, down = resampling_ratio(fs, target_fs)
    if up == down:
        return signal
    n_samples = signal.shape[1]
    # Whole blocks of `down` samples become whole blocks of `up` samples.
    reach = filter_reach(up, down)
    blocks_before = _divide_up(reach, down)
    before = blocks_before * down
    n_blocks = _divide_up(before + n_samples + 2 * reach, down)
    n_blocks = scipy.fft.next_fast_len(n_blocks, real=True)
    length = n_blocks * down
    after = length - before - n_samples
    padded = np.pad(signal, [(0, 0), (before, after)], mode="edge")
    # The transform is circular: the second half of the padding precedes the start.
    middle = length - after // 2
    padded[:, middle:] = signal[:, :1]

    gain = _gain(length, up, down)
    spectrum = scipy.fft.rfft(padded, axis=1)
    spectrum = spectrum[:, : len(gain)]
    spectrum *= gain
    filtered = scipy.fft.irfft(spectrum, n_blocks * up, axis=1, overwrite_x=True)
    first = blocks_before * up
    stop = first + resampled_length(n_samples, up, down)
    return filtered[:, first:stop]


@lru_cache(maxsize=32)
def low_pass(factor: int) -> np.ndarray:
    """Return the taps of the filter on a grid of ``factor`` times the lower rate.

    That grid is the one of ``scipy.signal.resample_poly`` for ``factor = max(up,
    down)``. Length and shape of the window follow Kaiser's formulas for attenuation and
    transition.

    Returns:
        float64, an odd number of taps with sum 1.
    """
    half = REACH * factor
    n = np.arange(-half, half + 1)
    # In the middle of the transition, relative to the Nyquist frequency of the grid.
    cutoff = (1 + PASS_BAND) / 2 / factor
    beta = 0.1102 * (STOP_BAND_DB - 8.7)
    window = np.kaiser(len(n), beta)
    taps = np.sinc(cutoff * n) * window
    return taps / taps.sum()


@lru_cache(maxsize=64)
def _gain(length: int, up: int, down: int) -> np.ndarray:
    """Return the filter's gain at the frequencies that both rates have, float32.

    Pass band and stop band get their ideal values, 1 and 0, which are 80 dB from the
    filter's: nothing can alias. The transition is the Fourier sum over the taps, real
    because they are symmetric.
    """
    new_length = length // down * up
    n_bins = min(length, new_length) // 2 + 1
    # Frequency of each bin relative to the Nyquist frequency of the input, then to the
    # lower one.
    frequency = np.arange(n_bins) * (2.0 / length)
    frequency *= max(1.0, down / up)
    gain = (frequency < 1).astype(np.float64)
    transition = (frequency > PASS_BAND) & (frequency < 1)
    taps = low_pass(FINE)
    centre, *side = taps[len(taps) // 2 :]
    radians = np.arange(1, len(side) + 1) * (np.pi / FINE)
    angle = np.outer(frequency[transition], radians)
    gain[transition] = centre + 2 * np.cos(angle) @ side
    gain *= up / down  # the inverse transform divides by its own, other length
    return gain.astype(np.float32)


def _divide_up(number: int, divisor: int) -> int:
    """Divide and round up."""
    return -(-number // divisor)


def linear_length(n_samples: int, fs: float, target_fs: float) -> int:
    """Return the length after `resample_linear`; a fraction of a sample is dropped.

    >>> linear_length(4096, 400.0, 500.0)
    5120
    """
    if fs == target_fs:
        return n_samples
    return int(n_samples * target_fs / fs)


def resample_linear(signal: np.ndarray, fs: float, target_fs: float) -> np.ndarray:
    """Resample ``[n_leads, n_samples]`` by linear interpolation, without a filter.

    Returns:
        float64 ``[n_leads, int(n_samples * target_fs / fs)]``, so that a filter after
        it rounds only once; at equal rates the signal itself.
    """
    if fs == target_fs:
        return signal
    n_samples = signal.shape[1]
    length = linear_length(n_samples, fs, target_fs)
    # First and last sample stay first and last.
    positions = np.linspace(0, length - 1, n_samples)
    output = np.arange(length)
    return np.stack([np.interp(output, positions, lead) for lead in signal])
