"""Plausibility of amplitudes: is the gain or unit of a recording wrong?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

#: Amplitudes in mV outside of which the gain cannot be right. In 830 real recordings
#: from ten sources the clean ones are between 0.24 and 8 mV; a loose electrode reaches
#: 80 mV, a gain wrong by a factor of a thousand is far outside.
AMPLITUDE_LIMITS_MV = (0.02, 20.0)

#: Gains (1/mV) that early releases of the PhysioNet/CinC Challenge 2020 data state for
#: signals stored at 1000/mV. Wrong by a factor of five, most of their amplitudes are
#: plausible, so the header has to be checked instead.
CHALLENGE_WRONG_GAINS = frozenset({200.0, 4880.0, 306000.0, 2000000.0})

_CHALLENGE_FIELDS = frozenset({"age", "sex", "dx", "rx", "hx"})
_SAMPLES_PER_LEAD = 128


def robust_amplitude(signal: np.ndarray) -> float:
    """Return the median over leads of the range between the 1st and 99th percentile.

    Uses 128 to 255 evenly spaced samples per lead, so it takes microseconds.

    Args:
        signal: ``[n_leads, n_samples]`` in mV.

    Returns:
        The amplitude in mV over the leads that vary; NaN when none does.
    """
    step = max(1, signal.shape[1] // _SAMPLES_PER_LEAD)
    ordered = np.sort(signal[:, ::step], axis=1)  # NaN sorts last
    n_valid = np.count_nonzero(ordered == ordered, axis=1)  # NaN differs from itself
    cut = n_valid // 100  # samples beyond the percentiles, at each end
    rows = np.arange(len(ordered))
    ranges = ordered[rows, n_valid - 1 - cut] - ordered[rows, cut]
    varying = np.sort(ranges[ranges > 0])  # neither flat leads nor those of NaN
    if len(varying) == 0:
        return float("nan")
    middle = len(varying) // 2
    return float(varying[middle])


def amplitude_is_implausible(signal: np.ndarray) -> bool:
    """Return whether a signal in mV is so large or small that its gain must be wrong.

    A signal that does not vary is plausible here; flat leads are checked elsewhere.
    """
    amplitude = robust_amplitude(signal)
    low, high = AMPLITUDE_LIMITS_MV
    return amplitude < low or amplitude > high


def gain_is_known_wrong(gains: Sequence[float], fields: Mapping[str, str]) -> bool:
    """Return whether gains and comment fields are those of a Challenge 2020 header with
    a wrong gain.
    """
    return gains[0] in CHALLENGE_WRONG_GAINS and fields.keys() >= _CHALLENGE_FIELDS
