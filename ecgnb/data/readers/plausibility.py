"""Is the amplitude of a recording one that a heart can make? A look at some hundred
samples a lead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

#: Amplitudes in mV outside of which the gain cannot be true. In 830 real recordings
#: from ten sources the clean ones lie between 0.24 and 8 mV; an electrode that hangs
#: loose reaches 80 mV, a gain off by a thousand is far outside.
AMPLITUDE_LIMITS_MV = (0.02, 20.0)

#: Gains (1/mV) that early releases of the PhysioNet/CinC Challenge 2020 data state for
#: signals stored at 1000/mV. Off by a factor of five only, most of them lie within what
#: hearts make: the header has to give them away.
CHALLENGE_WRONG_GAINS = frozenset({200.0, 4880.0, 306000.0, 2000000.0})

_CHALLENGE_FIELDS = ("age", "sex", "dx", "rx", "hx")
_SAMPLES_A_LEAD = 128


def robust_amplitude(signal: np.ndarray) -> float:
    """Return the median over leads of the range between the 1st and the 99th
    percentile.

    Looks at 128 to 255 evenly spaced samples a lead, so it costs microseconds.

    Args:
        signal: ``[n_leads, n_samples]`` in mV.

    Returns:
        The amplitude in mV over the leads that vary; NaN when none does.
    """
    step = max(1, signal.shape[1] // _SAMPLES_A_LEAD)
    ordered = np.sort(signal[:, ::step], axis=1)
    if np.isnan(ordered[:, -1]).any():  # NaN sorts last
        ranges = [_percentile_range(row[~np.isnan(row)]) for row in ordered]
    else:
        ranges = _percentile_range(ordered.T).tolist()
    varying = sorted(value for value in ranges if value > 0)
    return float(varying[len(varying) // 2]) if varying else float("nan")


def _percentile_range(ordered: np.ndarray) -> np.ndarray:
    """Return the range of values sorted along the first axis, without one in a hundred
    at each end.
    """
    if len(ordered) == 0:
        return np.zeros(ordered.shape[1:])
    cut = len(ordered) // 100
    return ordered[len(ordered) - 1 - cut] - ordered[cut]


def amplitude_is_implausible(signal: np.ndarray) -> bool:
    """Say whether the signal (mV) is so large or so small that its gain or unit cannot
    be true.

    A signal without any variation is left to the checks for flat leads.
    """
    amplitude = robust_amplitude(signal)
    return bool(
        amplitude < AMPLITUDE_LIMITS_MV[0] or amplitude > AMPLITUDE_LIMITS_MV[1]
    )


def gain_is_known_wrong(gains: Sequence[float], fields: Mapping[str, str]) -> bool:
    """Say whether a header with these comment fields is a Challenge 2020 header with
    one of its wrong gains.
    """
    return gains[0] in CHALLENGE_WRONG_GAINS and all(
        field in fields for field in _CHALLENGE_FIELDS
    )
