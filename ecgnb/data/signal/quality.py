"""Signal quality: repair or refuse gaps, detect flat and clipped leads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ecgnb.core.errors import ReadError

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
