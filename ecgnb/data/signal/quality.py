"""Is a signal fit for use? Gaps are repaired or refused; flat and clipped leads are
named.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ecgnb.core.errors import ReadError

#: Rates in Hz between which a recording is taken for an electrocardiogram.
MIN_FS, MAX_FS = 50.0, 5000.0
#: Shortest recording in seconds that holds a whole beat at any heart rate worth the
#: name.
MIN_SECONDS = 1.0
#: Largest part of a lead that may be NaN and still be filled in.
MAX_NAN_FRACTION = 0.05
#: Longest gap in seconds that is filled in; a straight line over more would hide a
#: beat.
MAX_GAP_SECONDS = 0.5
#: A run at the highest or lowest value that lasts this many seconds is an amplifier at
#: its limit, not a wave.
CLIPPED_SECONDS = 0.05
#: Shortest such run in samples, for low rates.
CLIPPED_SAMPLES = 8


def check_duration(n_samples: int, fs: float) -> None:
    """Refuse a recording whose rate or length cannot be used.

    Raises:
        ReadError: ``"rate"`` outside 50 to 5000 Hz, ``"too_short"`` below one second.
    """
    if not MIN_FS <= fs <= MAX_FS:  # also refuses NaN
        raise ReadError(
            "rate",
            f"The sampling rate is {fs:g} Hz, outside {MIN_FS:g} to {MAX_FS:g} Hz: mend the header.",
        )
    if n_samples < MIN_SECONDS * fs:
        raise ReadError(
            "too_short",
            f"The recording lasts {n_samples / fs:.3g} s, less than {MIN_SECONDS:g} s.",
        )


class Extremes(NamedTuple):
    """Lowest and highest value of each lead, ``[n_leads]``; what most checks begin
    with, found once.
    """

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, signal: np.ndarray) -> Extremes:
        """Find them in ``[n_leads, n_samples]``; a NaN anywhere in a lead makes both
        NaN.
        """
        return cls(signal.min(axis=1), signal.max(axis=1))

    def finite(self) -> bool:
        """Say whether every value of the signal is finite."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())


def repair_gaps(signal: np.ndarray, fs: float, leads: tuple[str, ...]) -> np.ndarray:
    """Fill short gaps of NaN with straight lines; a gap at an end takes the nearest
    value.

    Args:
        signal: float32 ``[n_leads, n_samples]``.
        fs: rate in Hz.
        leads: names of the rows, for the message.

    Returns:
        A repaired copy.

    Raises:
        ReadError: ``"inf"`` for an infinite value, ``"nan"`` when more than 5 % of a
            lead or more than half a second in one piece is missing.
    """
    if np.isinf(signal).any():
        lead = leads[int(np.argmax(np.isinf(signal).any(axis=1)))]
        raise ReadError(
            "inf",
            f"Lead {lead} holds an infinite value: the file is damaged or its gain is zero.",
        )
    missing = np.isnan(signal)
    repaired = signal.copy()
    for row in np.flatnonzero(missing.any(axis=1)):
        _check_gaps(missing[row], fs, leads[row])
        known = np.flatnonzero(~missing[row])
        gaps = np.flatnonzero(missing[row])
        repaired[row, gaps] = np.interp(gaps, known, signal[row, known])
    return repaired


def _check_gaps(missing: np.ndarray, fs: float, lead: str) -> None:
    fraction = missing.mean()
    if fraction > MAX_NAN_FRACTION:
        raise ReadError(
            "nan",
            f"{100 * fraction:.3g} % of lead {lead} is missing (NaN), more than {100 * MAX_NAN_FRACTION:g} %.",
        )
    longest = longest_run(missing) / fs
    if longest > MAX_GAP_SECONDS:
        raise ReadError(
            "nan",
            f"Lead {lead} misses {longest:.3g} s in one piece, more than {MAX_GAP_SECONDS:g} s.",
        )


def find_flat(extremes: Extremes) -> np.ndarray:
    """Return bool ``[n_leads]``: the lead is constant (to a millionth of its own size,
    the rounding of float32).
    """
    low, high = extremes
    return high - low <= 1e-6 * np.maximum(np.abs(high), np.abs(low))


def find_clipped(signal: np.ndarray, fs: float, extremes: Extremes) -> np.ndarray:
    """Return bool ``[n_leads]``: the lead stays at its highest or lowest value for 50
    ms or more.

    A constant lead counts as clipped; ask `find_flat` first.
    """
    run = max(CLIPPED_SAMPLES, round(CLIPPED_SECONDS * fs))
    # A run of that length covers a multiple of it, so a look at every run-th sample
    # rules most leads out.
    probes = Extremes.of(signal[:, ::run])
    clipped = np.zeros(len(signal), dtype=bool)
    for limit, probe in zip(extremes, probes, strict=True):
        for row in np.flatnonzero(probe == limit):
            at_limit = signal[row] == limit[row]
            clipped[row] |= (
                np.count_nonzero(at_limit) >= run and longest_run(at_limit) >= run
            )
    return clipped


def longest_run(mask: np.ndarray) -> int:
    """Return the length of the longest run of true values.

    >>> longest_run(np.array([True, True, False, True]))
    2
    """
    edges = np.diff(np.concatenate(([0], mask.view(np.int8), [0])))
    return int(
        (np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)).max(initial=0)
    )
