"""When the heart beats: times of P waves and QRS complexes of each rhythm in the demo
cohort.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ecgnb.data.demo.patients import Case

#: Seconds before the recording at which the rhythm starts, so that the first beat seen
#: has a history.
LEAD_IN = 3.0
SINUS, ECTOPIC = 0, 1


@dataclass(frozen=True)
class Breathing:
    """Respiration, which moves the baseline, the amplitude and the sinus node
    together.
    """

    hertz: float
    phase: float

    def at(self, seconds: np.ndarray | float) -> np.ndarray:
        """Return the state of the lungs from -1 to 1."""
        return np.sin(2 * np.pi * self.hertz * np.asarray(seconds) + self.phase)


@dataclass(frozen=True, eq=False)
class Rhythm:
    """Times in seconds from the start of the recording; some lie before or after it.

    Attributes:
        beats: R peaks ``[n_beats]``.
        kinds: `SINUS` (also atrial) or `ECTOPIC`, one a beat.
        intervals: RR interval before each beat that governs its repolarisation.
        p_waves: onsets of P waves ``[n_p_waves]``, also of those that no QRS follows.
        fibrillates: whether the atria fibrillate.
    """

    beats: np.ndarray
    kinds: np.ndarray
    intervals: np.ndarray
    p_waves: np.ndarray
    fibrillates: bool = False


def make_rhythm(
    case: Case, seconds: float, breathing: Breathing, rng: np.random.Generator
) -> Rhythm:
    """Draw the rhythm of a recording; P waves start the PR interval plus 45 ms before
    an R peak.
    """
    if case.true_label == "AF":
        return _fibrillation(case, seconds, rng)
    atria = _sinus_node(case, seconds, breathing, rng)
    return _CONDUCTION.get(case.resembles, _conducted)(case, atria, rng)


def heart_rate(case: Case, rng: np.random.Generator) -> float:
    """Draw beats a minute; the same person's rate differs from day to day."""
    usual = case.patient.rate * float(np.exp(0.07 * rng.standard_normal()))
    amount = case.severity * rng.uniform(0.8, 1.2)
    rates = {
        "sinus_tachycardia": 99 + 33 * amount,
        "sinus_bradycardia": 60 - 15 * amount,
        "af_controlled": 60 + 0.4 * usual,
        "af_rapid": 118 + 0.4 * usual - 10 * amount,
        "av_block_1": min(usual, 82.0),
        "av_block_2": min(usual, 86.0),
        "pvc": min(usual, 90.0),
    }
    if case.true_label == "NORM" and case.resembles == "af_controlled":
        return usual
    if case.true_label == "NORM" and case.resembles == "sinus_tachycardia":
        return 92 + 18 * amount
    return float(np.clip(rates.get(case.resembles, np.clip(usual, 55, 97)), 34, 175))


def _sinus_node(
    case: Case, seconds: float, breathing: Breathing, rng: np.random.Generator
) -> np.ndarray:
    """Return when P waves start: a mean rate, moved by breathing, by a 0.1 Hz wave and
    at random.
    """
    mean = 60 / heart_rate(case, rng)
    young = np.clip((75 - case.patient.age) / 50, 0.1, 1.0)
    depth = mean * young * rng.uniform(0.01, 0.06)
    if case.true_label == "NORM" and case.resembles == "af_controlled":
        depth += 0.3 * case.severity  # a marked sinus arrhythmia
    slow, phase = mean * rng.uniform(0.005, 0.02), rng.uniform(0, 2 * np.pi)
    time, times = -LEAD_IN + mean * rng.random(), []
    while time < seconds + 1:
        times.append(time)
        change = depth * breathing.at(time) + slow * np.sin(0.2 * np.pi * time + phase)
        time += max(mean + float(change) + 0.008 * mean * rng.standard_normal(), 0.3)
    return np.array(times)


def _pr_interval(case: Case, rate: float) -> float:
    """Seconds from the onset of P to the onset of QRS; shorter in a fast heart."""
    usual = float(np.clip(case.patient.pr - 0.0005 * (rate - 70), 0.115, 0.192))
    if case.resembles == "av_block_1":
        return max(usual, 0.185) + 0.075 * case.severity
    return usual


def _follow(p_waves: np.ndarray, pr: np.ndarray | float) -> np.ndarray:
    """Return the R peaks that follow P waves: the QRS of a normal beat begins about 45
    ms before its peak.
    """
    return p_waves + pr + 0.045


def _conducted(case: Case, atria: np.ndarray, rng: np.random.Generator) -> Rhythm:
    """Every P wave is followed by a QRS complex."""
    pr = _pr_interval(case, 60 / float(np.diff(atria).mean()))
    beats = _follow(atria, pr + 0.002 * rng.standard_normal(len(atria)))
    return Rhythm(beats, np.zeros(len(beats), dtype=np.int64), _intervals(beats), atria)


def _dropped(case: Case, atria: np.ndarray, rng: np.random.Generator) -> Rhythm:
    """Second degree block: PR grows until a beat is dropped (Mobitz I), or a beat is
    dropped at once (Mobitz II).
    """
    wenckebach = rng.random() < 0.6
    cycle = int(rng.integers(3, 6)) if case.severity > 0.6 else 7
    place = (np.arange(len(atria)) + int(rng.integers(cycle))) % cycle
    pr = _pr_interval(case, 60 / float(np.diff(atria).mean())) + 0.01
    growth = np.array([0.0, 0.075, 0.115, 0.14, 0.155, 0.165]) * wenckebach
    conducted = place < cycle - 1
    beats = _follow(atria, pr + growth[np.minimum(place, 5)])[conducted]
    return Rhythm(beats, np.zeros(len(beats), dtype=np.int64), _intervals(beats), atria)


def _with_ectopy(case: Case, atria: np.ndarray, rng: np.random.Generator) -> Rhythm:
    """Some beats are replaced by premature ventricular ones; the sinus node goes on
    undisturbed.

    Since its next impulse meets a refractory heart, the pause is compensatory: the
    beats around the premature one lie two sinus intervals apart.
    """
    beats = _conducted(case, atria, rng).beats
    kinds = np.zeros(len(beats), dtype=np.int64)
    inside = np.flatnonzero((atria > 0.3) & (beats < atria[-1] - 2.2))
    start = inside[int(rng.integers(len(inside) // 2 + 1))]
    if case.severity > 0.6:  # bigeminy, trigeminy or fewer
        step = int(rng.choice([2, 3, 4, 6], p=[0.15, 0.2, 0.35, 0.3]))
        chosen = inside[(inside >= start) & ((inside - start) % step == 0)]
    else:
        chosen = np.array([start])
    kinds[chosen] = ECTOPIC
    rr = np.diff(beats, prepend=2 * beats[0] - beats[1])
    coupling = rng.uniform(0.55, 0.72) + 0.08 * (1 - min(case.severity, 1.0))
    beats = beats - np.where(
        kinds == ECTOPIC, (1 - coupling) * rr * rng.uniform(0.97, 1.03, len(beats)), 0
    )
    return Rhythm(beats, kinds, rr, atria[kinds == SINUS])


def _fibrillation(case: Case, seconds: float, rng: np.random.Generator) -> Rhythm:
    """Irregularly irregular: each interval is drawn for itself, none shorter than the
    node's refractory time.
    """
    mean = 60 / heart_rate(case, rng)
    variation = 0.10 + 0.13 * min(case.severity, 1.1) * rng.uniform(0.9, 1.2)
    shortest = 0.45 * mean
    shape = ((mean - shortest) / (variation * mean)) ** 2
    n = int((seconds + LEAD_IN + 1) / mean * 1.5) + 10
    rr = shortest + rng.gamma(shape, (mean - shortest) / shape, n)
    beats = -LEAD_IN + np.cumsum(rr)
    keep = beats < seconds + 1
    # The action potential adapts to several beats, not to the last interval alone.
    intervals = (0.4 * rr + 0.6 * mean)[keep]
    return Rhythm(
        beats[keep],
        np.zeros(int(keep.sum()), dtype=np.int64),
        intervals,
        np.empty(0),
        True,
    )


def _intervals(beats: np.ndarray) -> np.ndarray:
    rr = np.diff(beats, prepend=2 * beats[0] - beats[1])
    return 0.4 * rr + 0.6 * float(np.median(rr))


_CONDUCTION: dict[str, Callable[[Case, np.ndarray, np.random.Generator], Rhythm]] = {
    "pvc": _with_ectopy,
    "av_block_2": _dropped,
}
