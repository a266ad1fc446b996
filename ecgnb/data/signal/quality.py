"""Signal quality: repair or refuse gaps, detect flat and clipped leads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.plausibility import robust_amplitude

#: Sampling rates in Hz that an electrocardiogram may have.
MIN_FS, MAX_FS = 50.0, 5000.0
#: Shortest recording in seconds: about one beat.
MIN_SECONDS = 1.0
#: Largest fraction of a lead that may be NaN and is filled in.
MAX_NAN_FRACTION = 0.05
#: Longest gap in seconds that is filled in; a longer straight line would hide a beat.
MAX_GAP_SECONDS = 0.5
#: A run at the highest or lowest value of this many seconds is a saturated amplifier,
#: not a wave.
CLIPPED_SECONDS = 0.05
#: Shortest such run in samples, for low rates.
CLIPPED_SAMPLES = 8
#: Largest voltage in mV that an electrode delivers, with a margin: amplifiers must cope
#: with an offset of 300 mV (IEC 60601-2-25), and a loose electrode reaches 94 mV in the
#: 1,528 real recordings that this was tried on.
MAX_MV = 1000.0
#: Amplitude in mV above which not the samples are wrong but the unit; the bound grows
#: with it, and the recording is flagged instead.
MAX_AMPLITUDE_MV = 20.0
#: Largest value whatever the unit: full scale of a 24-bit converter, read as mV.
MAX_VALUE = float(2**24)
#: Smallest range in mV of the liveliest lead, 0.1 uV: amplifiers have more noise, so
#: the unit is wrong by more than volts for millivolts. `zscore` would make it zeros.
MIN_RANGE_MV = 1e-4
#: Values below this, in mV, are zero; int16 could not keep them exactly.
TINY_MV = 1e-9


def check_duration(n_samples: int, fs: float) -> None:
    """Refuse a recording whose rate or length cannot be used.

    Raises:
        ReadError: ``"rate"`` outside 50 to 5000 Hz, ``"too_short"`` below one second.
    """
    if not MIN_FS <= fs <= MAX_FS:  # also refuses NaN
        raise ReadError(
            "rate",
            f"The sampling rate is {fs:g} Hz, outside {MIN_FS:g} to {MAX_FS:g} Hz: "
            "correct the header.",
        )
    if n_samples < MIN_SECONDS * fs:
        raise ReadError(
            "too_short",
            f"The recording lasts {n_samples / fs:.3g} s, less than {MIN_SECONDS:g} s.",
        )


class Extremes(NamedTuple):
    """Lowest and highest value of each lead, ``[n_leads]``; input of most checks."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, signal: np.ndarray) -> Extremes:
        """Compute them of ``[n_leads, n_samples]``; a NaN in a lead makes both NaN."""
        return cls(signal.min(axis=1), signal.max(axis=1))

    def finite(self) -> bool:
        """Return whether every value of the signal is finite."""
        return bool(np.isfinite(self).all())


def repair_gaps(signal: np.ndarray, fs: float, leads: tuple[str, ...]) -> np.ndarray:
    """Fill short gaps of NaN with straight lines; a gap at an end takes the nearest
    value.

    Args:
        signal: float32 ``[n_leads, n_samples]``.
        fs: sampling rate in Hz.
        leads: names of the rows, for the message.

    Returns:
        A repaired copy.

    Raises:
        ReadError: ``"inf"`` for an infinite value, ``"nan"`` when more than 5 % of a
            lead or more than half a second in one piece is missing.
    """
    infinite = np.isinf(signal).any(axis=1)
    if infinite.any():
        raise ReadError(
            "inf",
            f"Lead {leads[np.argmax(infinite)]} has an infinite value: the file is "
            "damaged or its gain is zero.",
        )
    missing = np.isnan(signal)
    repaired = signal.copy()
    for row in np.flatnonzero(missing.any(axis=1)):
        is_gap = missing[row]
        fraction = is_gap.mean()
        if fraction > MAX_NAN_FRACTION:
            raise ReadError(
                "nan",
                f"{100 * fraction:.3g} % of lead {leads[row]} is missing (NaN), more "
                f"than {100 * MAX_NAN_FRACTION:g} %.",
            )
        longest = longest_run(is_gap) / fs  # seconds
        if longest > MAX_GAP_SECONDS:
            raise ReadError(
                "nan",
                f"Lead {leads[row]} misses {longest:.3g} s in one piece, more than "
                f"{MAX_GAP_SECONDS:g} s.",
            )
        present = np.flatnonzero(~is_gap)
        gaps = np.flatnonzero(is_gap)
        repaired[row, gaps] = np.interp(gaps, present, signal[row, present])
    return repaired


def check_amplitude(
    signal: np.ndarray, fs: float, leads: tuple[str, ...], first: int = 0
) -> str:
    """Refuse values that no electrode delivers: filters and the storage of their lead
    would lose everything else.

    Where the whole recording is large its unit is wrong, and its shape is right: it is
    used, with a flag. So is a lead that stays at one value, the rail of an amplifier.

    Args:
        signal: float32 ``[n_leads, n_samples]``, finite, in mV.
        fs: sampling rate in Hz.
        leads: names of the rows, for the message.
        first: sample of the recording at which the signal begins, for the message.

    Returns:
        The flag, such as ``"amplitude:3e+03 mV"``, or "" for a usual signal.

    Raises:
        ReadError: ``"amplitude"``, with lead, value and time.
    """
    extremes = Extremes.of(signal)
    peaks = np.maximum(extremes.high, -extremes.low)  # [n_leads], mV
    if peaks.max() > MAX_MV:
        constant = find_flat(extremes)
        bounds = np.where(constant, MAX_VALUE, min(_bound_mv(signal), MAX_VALUE))
        excess = peaks / bounds
        row = int(excess.argmax())
        if excess[row] > 1:
            sample = int(np.abs(signal[row]).argmax())
            raise ReadError(
                "amplitude",
                f"Lead {leads[row]} has {signal[row, sample]:g} mV at "
                f"{(first + sample) / fs:.3f} s; no electrode delivers more than "
                f"{MAX_MV:g} mV. The file is damaged, or its gain or unit is wrong: "
                "correct it, or leave the recording out.",
            )
    largest = float((extremes.high - extremes.low).max())
    if 0 < largest < MIN_RANGE_MV:
        raise ReadError(
            "amplitude",
            f"No lead varies by more than {largest:g} mV, less than the noise of any "
            "amplifier: correct the gain or unit in the file.",
        )
    return f"amplitude:{peaks.max():.3g} mV" if peaks.max() > MAX_MV else ""


def _bound_mv(signal: np.ndarray) -> float:
    """Return the largest possible value of a recording, by its usual amplitude."""
    amplitude = robust_amplitude(signal)  # NaN where no lead varies
    return MAX_MV * float(np.fmax(1.0, amplitude / MAX_AMPLITUDE_MV))


def find_flat(extremes: Extremes) -> np.ndarray:
    """Return bool ``[n_leads]``: the lead is constant up to a millionth of its value,
    the rounding of float32, or up to `TINY_MV`.
    """
    low, high = extremes
    size = np.maximum(abs(high), abs(low))
    return high - low <= np.maximum(1e-6 * size, TINY_MV)


def find_clipped(signal: np.ndarray, fs: float, extremes: Extremes) -> np.ndarray:
    """Return bool ``[n_leads]``: the lead stays at its highest or lowest value for 50
    ms or more.

    A constant lead counts as clipped; see `find_flat`.
    """
    run = max(CLIPPED_SAMPLES, round(CLIPPED_SECONDS * fs))
    # A run of that length contains a multiple of it: every run-th sample shows which
    # leads may be clipped.
    probes = Extremes.of(signal[:, ::run])
    clipped = np.zeros(len(signal), dtype=bool)
    for limit, probe in zip(extremes, probes, strict=True):
        for row in np.flatnonzero(probe == limit):
            at_limit = signal[row] == limit[row]
            if np.count_nonzero(at_limit) >= run:
                clipped[row] |= longest_run(at_limit) >= run
    return clipped


def longest_run(mask: np.ndarray) -> int:
    """Return the length of the longest run of true values.

    >>> longest_run(np.array([True, True, False, True]))
    2
    """
    edges = np.diff(mask.view(np.int8), prepend=0, append=0)
    starts = np.flatnonzero(edges == 1)
    stops = np.flatnonzero(edges == -1)
    return int((stops - starts).max(initial=0))
