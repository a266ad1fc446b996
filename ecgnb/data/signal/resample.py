"""Another sampling rate for all leads at once, without aliases.

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

#: The pass band ends here, as a part of the lower Nyquist frequency; the stop band
#: begins at that frequency.
PASS_BAND = 0.9
#: Attenuation in the stop band, dB.
STOP_BAND_DB = 80.0
#: Half the filter's length in samples of the lower rate, from these two by Kaiser's
#: formula: 51.
REACH = math.ceil((STOP_BAND_DB - 7.95) / (2.285 * math.pi * (1 - PASS_BAND)) / 2)
#: Grid of the filter, as a multiple of the lower rate, from which its frequency
#: response is computed.
FINE = 16
#: Largest relative error of a rate that is replaced by a ratio of whole numbers: 1
#: sample in 100,000.
RATE_TOLERANCE = 1e-5
#: Largest whole number in such a ratio.
MAX_FACTOR = 10_000


@lru_cache(maxsize=256)
def resampling_ratio(fs: float, target_fs: float) -> tuple[int, int]:
    """Return the smallest whole numbers ``(up, down)`` with ``target_fs = fs * up /
    down``.

    A rate that is no such ratio takes the simplest one within 1 part in 100,000, less
    than the error of a crystal.

    Raises:
        ReadError: ``"rate"`` when no ratio of numbers up to 10,000 is near enough.

    >>> resampling_ratio(360, 500)
    (25, 18)
    """
    wanted = target_fs / fs
    for largest in (100, 1000, MAX_FACTOR):
        ratio = Fraction(wanted).limit_denominator(largest)
        if (
            ratio > 0
            and ratio.numerator <= MAX_FACTOR
            and abs(float(ratio) / wanted - 1) <= RATE_TOLERANCE
        ):
            return ratio.numerator, ratio.denominator
    raise ReadError(
        "rate",
        f"No ratio of whole numbers up to {MAX_FACTOR} turns {fs!r} Hz into {target_fs!r} Hz. "
        "Correct the rate in the header or choose another TARGET_FS.",
    )


def resampled_length(n_samples: int, up: int, down: int) -> int:
    """Return how many samples ``n_samples`` become: all whose time lies within the
    recording.
    """
    return -(-n_samples * up // down)


def filter_reach(up: int, down: int) -> int:
    """Return how many input samples on each side take part in an output sample."""
    return -(-REACH * max(up, down) // up)


def resample(signal: np.ndarray, fs: float, target_fs: float) -> np.ndarray:
    """Resample float32 ``[n_leads, n_samples]`` from ``fs`` to ``target_fs`` (Hz).

    Frequencies up to 90 % of the lower Nyquist frequency are kept within 0.1 %; those
    above it are attenuated by 80 dB. Before its start and after its end the signal is
    held at its first and last value. At equal rates the signal itself comes back, bit
    for bit.

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
    before, padded_length = _padding(n_samples, up, down)
    padded = np.empty((len(signal), padded_length), dtype=np.float32)
    padded[:, :before] = signal[:, :1]
    padded[:, before : before + n_samples] = signal
    after = padded_length - before - n_samples
    padded[:, before + n_samples : padded_length - after // 2] = signal[:, -1:]
    padded[:, padded_length - after // 2 :] = signal[
        :, :1
    ]  # the transform is circular: this stands before the start
    response = _response(padded_length, up, down)
    spectrum = scipy.fft.rfft(padded, axis=1)[:, : len(response)]
    spectrum *= response
    filtered = scipy.fft.irfft(
        spectrum, padded_length // down * up, axis=1, overwrite_x=True
    )
    first = before // down * up
    return filtered[:, first : first + resampled_length(n_samples, up, down)]


def _padding(n_samples: int, up: int, down: int) -> tuple[int, int]:
    """Return the samples to put before the signal and the padded length, both multiples
    of ``down``.
    """
    reach = filter_reach(up, down)
    before = -(-reach // down) * down
    blocks = -(-(before + n_samples + 2 * reach) // down)
    return before, scipy.fft.next_fast_len(blocks, real=True) * down


@lru_cache(maxsize=32)
def low_pass(factor: int) -> np.ndarray:
    """Return the taps of the filter on a grid ``factor`` times as fine as the lower of
    the two rates.

    That grid is the one of ``scipy.signal.resample_poly`` when ``factor = max(up,
    down)``. Length and shape of the window are Kaiser's formulas for the wanted
    attenuation and transition.

    Returns:
        float64, an odd number of taps with sum 1.
    """
    half = REACH * factor
    cutoff = (
        (1 + PASS_BAND) / 2 / factor
    )  # in the middle of the transition, as a part of the grid's Nyquist frequency
    beta = 0.1102 * (STOP_BAND_DB - 8.7)
    taps = np.sinc(cutoff * np.arange(-half, half + 1)) * np.kaiser(2 * half + 1, beta)
    return taps / taps.sum()


@lru_cache(maxsize=64)
def _response(padded_length: int, up: int, down: int) -> np.ndarray:
    """Return the gain of the filter at the frequencies that both rates know, float32.

    Pass band and stop band are set to their ideal values, 1 and 0: 80 dB from what the
    filter does, and nothing is left to alias. In between stands the Fourier sum over
    the taps, real because they are symmetric.
    """
    common = min(padded_length, padded_length // down * up) // 2 + 1
    # Frequency of each bin as a part of the lower Nyquist frequency.
    frequency = np.arange(common) * (2.0 / padded_length) * max(1.0, down / up)
    gain = (frequency < 1).astype(np.float64)
    between = np.flatnonzero((frequency > PASS_BAND) & (frequency < 1))
    half = low_pass(FINE)[len(low_pass(FINE)) // 2 :]
    angle = np.outer(frequency[between], np.arange(1, len(half)) * (np.pi / FINE))
    gain[between] = half[0] + 2 * np.cos(angle) @ half[1:]
    return (gain * (up / down)).astype(
        np.float32
    )  # the inverse transform divides by its own, other length


def linear_length(n_samples: int, fs: float, target_fs: float) -> int:
    """Return how many samples ``n_samples`` become: the part of a sample at the end is
    lost.

    >>> linear_length(4096, 400.0, 500.0)
    5120
    """
    return n_samples if fs == target_fs else int(n_samples * target_fs / fs)


def resample_linear(signal: np.ndarray, fs: float, target_fs: float) -> np.ndarray:
    """Resample a whole recording ``[n_leads, n_samples]`` from ``fs`` to ``target_fs``
    (Hz).

    Returns:
        float64 ``[n_leads, int(n_samples * target_fs / fs)]``, so that a filter behind
        it rounds but once; at equal rates the signal itself.
    """
    if fs == target_fs:
        return signal
    n_new = linear_length(signal.shape[1], fs, target_fs)
    wanted, places = np.arange(n_new), np.linspace(0, n_new - 1, signal.shape[1])
    return np.stack([np.interp(wanted, places, lead) for lead in signal])
