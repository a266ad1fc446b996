"""Landmarks of a signal: binary codes that survive gain, shift, inversion, resampling.

A landmark is a peak of the band-passed signal; its code describes the 0.8 s on either
side. Codes are signs of random projections: two windows with the angle a between them
differ in a share a / pi of their bits (Charikar 2002, "Similarity estimation techniques
from rounding algorithms", STOC). Equal parts of two recordings have nearly equal codes,
in whichever lead and at whichever time they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

#: Rate of the narrow signals, Hz; all signals of a store have exactly the same rate.
RATE = 100.0
#: The band, Hz: the gain rises from 0 to 1 between the first two and falls between the
#: last two. It excludes wander and mains, and is in recordings at 100 Hz, too.
BAND = (2.0, 4.0, 20.0, 30.0)
#: Smoothing of the local power, s: about a heart beat's QRS complex and T wave.
POWER_WINDOW_S = 0.3
#: Local power below these shares of its median and of its mean is not amplified:
#: quantisation in flat parts of a lead, ringing of the filter beside a step.
FLOOR_OF_MEDIAN, FLOOR_OF_MEAN = 0.001, 0.001
#: A landmark is the largest peak within this time on either side, s.
PEAK_DISTANCE_S = 0.25
#: Samples of a code's window relative to the landmark, at `RATE`. The peak itself is
#: left out, because it is what all beats have in common.
OFFSETS = np.concatenate([np.arange(-80, -4, 2), np.arange(6, 82, 2)])
#: Time from the ends of a recording without landmarks, s: the window and what the
#: filter makes of the ends.
MARGIN_S = 0.9
#: Smallest levelled peak, about 2 in an active part of a lead.
ACTIVE = 0.5
CODE_BITS = 64
_PROJECTIONS = (
    np.random.default_rng(0)
    .standard_normal((len(OFFSETS), CODE_BITS))
    .astype(np.float32)
)


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Landmarks of many signals, 18 bytes per landmark.

    Attributes:
        record: int32 ``[n]``, number of the signal.
        lead: int16 ``[n]``, row of the signal.
        time: float32 ``[n]`` in samples of the narrow signal, with fractions.
        code: uint64 ``[n]``.
    """

    record: np.ndarray
    lead: np.ndarray
    time: np.ndarray
    code: np.ndarray

    @classmethod
    def join(cls, parts: list[Landmarks]) -> Landmarks:
        """Concatenate landmarks."""
        columns = []
        for name in ("record", "lead", "time", "code"):
            columns.append(np.concatenate([getattr(part, name) for part in parts]))
        return cls(*columns)


def narrow_length(n_samples: int, fs: float) -> int:
    """Return the samples of a narrow signal for ``n_samples`` at ``fs`` (Hz)."""
    return round(n_samples / fs * RATE)


def narrow_bounds(valid: np.ndarray, fs: float) -> np.ndarray:
    """Convert bounds of recorded samples at ``fs`` to samples of the narrow signal."""
    return valid / fs * RATE


def narrow_signals(
    signals: np.ndarray, valid: np.ndarray, fs: float
) -> tuple[np.ndarray, np.ndarray]:
    """Reduce signals to one band and a low rate, and level their power.

    Args:
        signals: float32 ``[B, n_leads, n_samples]`` in any unit.
        valid: int64 ``[B, 2]``, first recorded sample and the one after the last.
        fs: rate in Hz.

    Returns:
        Two arrays float32 ``[B, n_leads, m]`` at `RATE`: the band-passed signal with a
        largest magnitude of 1 per lead, and the same divided by its local root mean
        square. Levelled, the noise between two beats counts as much as the beats, and
        it differs from beat to beat. Flat leads are 0.
    """
    band = _band_passed(_continued(signals, valid), fs)
    peak = np.abs(band).max(axis=-1, keepdims=True)
    band /= np.where(peak > 0, peak, 1)
    return band, _levelled(band)


def _continued(signals: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Continue the recorded part to both sides; subtract its first sample, so that a
    flat lead is exactly 0 and no rounding error is taken for a signal.
    """
    n_samples = signals.shape[-1]
    starts, stops = valid[:, :1], valid[:, 1:]
    if (starts > 0).any() or (stops < n_samples).any():
        inside = np.clip(np.arange(n_samples), starts, stops - 1)  # [B, n_samples]
        signals = np.take_along_axis(signals, inside[:, None], axis=-1)
    return signals - signals[..., :1]


def _band_passed(signals: np.ndarray, fs: float) -> np.ndarray:
    n_samples = signals.shape[-1]
    length = narrow_length(n_samples, fs)
    frequency = np.arange(n_samples // 2 + 1) * (fs / n_samples)
    frequency = frequency[frequency < BAND[-1]]
    gain = np.interp(frequency, BAND, (0, 1, 1, 0))
    gain = np.sin(np.pi / 2 * gain) ** 2  # smooth edges ring for less than 0.5 s
    gain *= length / n_samples  # the inverse transform divides by its own length
    spectrum = scipy.fft.rfft(signals, axis=-1)[..., : len(frequency)]
    spectrum *= gain.astype(np.float32)
    return scipy.fft.irfft(spectrum, length, axis=-1, overwrite_x=True)


def _levelled(band: np.ndarray) -> np.ndarray:
    # Imported here: most users of the package need no filters of images.
    from scipy.ndimage import uniform_filter1d

    width = round(POWER_WINDOW_S * RATE)
    power = uniform_filter1d(band * band, width, axis=-1, mode="nearest")
    np.maximum(power, 0, out=power)  # running sums round below 0
    median = np.median(power[..., ::5], axis=-1, keepdims=True)
    mean = power.mean(axis=-1, keepdims=True)
    power += FLOOR_OF_MEDIAN * median + FLOOR_OF_MEAN * mean
    return band / np.sqrt(np.where(power > 0, power, 1))


def find_landmarks(
    band: np.ndarray, levelled: np.ndarray, bounds: np.ndarray, first: int = 0
) -> Landmarks:
    """Find the landmarks of narrow signals and compute their codes.

    Args:
        band: float32 ``[B, n_leads, m]``.
        levelled: of the same shape, from `narrow_signals`.
        bounds: ``[B, 2]`` of the recorded part, in samples of ``band``.
        first: number of the first signal.
    """
    from scipy.ndimage import maximum_filter1d

    size = np.abs(band)
    width = 2 * round(PEAK_DISTANCE_S * RATE) + 1
    is_peak = size == maximum_filter1d(size, width, axis=-1, mode="constant")
    is_peak &= np.abs(levelled) >= ACTIVE
    margin = MARGIN_S * RATE
    sample = np.arange(band.shape[-1])
    inside = (sample >= bounds[:, :1] + margin) & (sample < bounds[:, 1:] - margin)
    record, lead, top = np.nonzero(is_peak & inside[:, None])
    time = top + _vertex(size, record, lead, top)
    windows = _windows(levelled, record, lead, time)  # [n, len(OFFSETS)]
    # An inverted copy has the same codes.
    windows *= np.sign(band[record, lead, top])[:, None]
    bits = windows @ _PROJECTIONS > 0
    code = np.packbits(bits, axis=1, bitorder="little").view(np.uint64)[:, 0]
    return Landmarks(
        (record + first).astype(np.int32),
        lead.astype(np.int16),
        time.astype(np.float32),
        code,
    )


def _vertex(
    size: np.ndarray, record: np.ndarray, lead: np.ndarray, top: np.ndarray
) -> np.ndarray:
    """Return where the parabola through a peak and its neighbours is highest, in
    samples relative to the peak.
    """
    before, at, after = (size[record, lead, top + step] for step in (-1, 0, 1))
    curvature = before - 2 * at + after
    curvature = np.where(curvature < 0, curvature, -1)
    return np.clip((before - after) / (2 * curvature), -0.5, 0.5)


def _windows(
    levelled: np.ndarray, record: np.ndarray, lead: np.ndarray, time: np.ndarray
) -> np.ndarray:
    """Return the windows around landmarks, interpolated between samples."""
    whole = np.floor(time).astype(np.int64)
    fraction = (time - whole).astype(np.float32)[:, None]
    rows = (record * levelled.shape[1] + lead) * levelled.shape[2]
    index = (rows + whole)[:, None] + OFFSETS
    flat = levelled.reshape(-1)
    return flat[index] * (1 - fraction) + flat[index + 1] * fraction
