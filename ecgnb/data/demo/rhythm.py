"""Heart rhythms of the demo cohort: times of P waves and QRS complexes."""

from __future__ import annotations

from dataclasses import dataclass
from math import tau

import numpy as np
from numpy.random import Generator

from ecgnb.data.demo.patients import Case, lognormal

#: Seconds before the recording at which the rhythm starts, so that the first visible
#: beat has a preceding one.
LEAD_IN = 3.0
#: Seconds from the onset of a normal QRS complex to its R peak.
QRS_ONSET_TO_PEAK = 0.045
# Growth of the PR interval up to a dropped beat, in seconds.
_WENCKEBACH = np.array([0.0, 0.075, 0.115, 0.14, 0.155, 0.165, 0.165])


@dataclass(frozen=True)
class Breathing:
    """Respiration: moves baseline, amplitude and sinus node with one frequency."""

    hertz: float
    phase: float

    def at(self, seconds: np.ndarray | float) -> np.ndarray:
        """Return the lung volume, scaled to -1..1, at times in seconds."""
        angle = tau * self.hertz * seconds
        return np.sin(angle + self.phase)


@dataclass(frozen=True, eq=False)
class Rhythm:
    """Times in seconds from the start of the recording; some lie before or after it.

    Attributes:
        beats: R peaks ``[n_beats]``.
        ectopic: bool ``[n_beats]``, True for ventricular beats.
        intervals: RR interval that sets the repolarisation of each beat ``[n_beats]``.
        p_waves: onsets of P waves ``[n_p_waves]``, conducted or not.
        fibrillates: whether the atria fibrillate.
    """

    beats: np.ndarray
    ectopic: np.ndarray
    intervals: np.ndarray
    p_waves: np.ndarray
    fibrillates: bool = False


def draw_breathing(rng: Generator) -> Breathing:
    """Draw a respiration of 9 to 24 breaths per minute."""
    hertz = rng.uniform(0.15, 0.4)
    return Breathing(hertz, phase=rng.uniform(0, tau))


def make_rhythm(
    case: Case, seconds: float, breathing: Breathing, rng: Generator
) -> Rhythm:
    """Draw the rhythm of a recording of ``seconds`` seconds."""
    if case.true_label == "AF":
        return _fibrillation(case, seconds, rng)
    p_waves = _sinus_node(case, seconds, breathing, rng)
    if case.resembles == "pvc":
        return _with_premature_beats(case, p_waves, rng)
    if case.resembles == "av_block_2":
        return _second_degree_block(case, p_waves, rng)
    return _conducted(case, p_waves, rng)


def heart_rate(case: Case, rng: Generator) -> float:
    """Draw beats per minute; the rate of one person varies between recordings."""
    usual = lognormal(rng, case.patient.rate, 0.07)
    amount = case.severity * rng.uniform(0.8, 1.2)
    if case.true_label == "NORM":
        if case.resembles == "af_controlled":
            return usual
        if case.resembles == "sinus_tachycardia":
            return 92 + 18 * amount
    rates = {
        "sinus_tachycardia": 99 + 33 * amount,
        "sinus_bradycardia": 60 - 15 * amount,
        "af_controlled": 60 + 0.4 * usual,
        "af_rapid": 118 + 0.4 * usual - 10 * amount,
        "av_block_1": min(usual, 82.0),
        "av_block_2": min(usual, 86.0),
        "pvc": min(usual, 90.0),
    }
    rate = rates.get(case.resembles, np.clip(usual, 55, 97))
    return np.clip(rate, 34, 175)


def _sinus_node(
    case: Case, seconds: float, breathing: Breathing, rng: Generator
) -> np.ndarray:
    """Return onsets of P waves: a mean rate with the three known modulations."""
    mean = 60 / heart_rate(case, rng)
    # Respiratory sinus arrhythmia decreases with age.
    youth = (75 - case.patient.age) / 50
    youth = np.clip(youth, 0.1, 1.0)
    respiratory = mean * youth * rng.uniform(0.01, 0.06)
    if case.true_label == "NORM" and case.resembles == "af_controlled":
        respiratory += 0.3 * case.severity  # a marked sinus arrhythmia
    mayer = mean * rng.uniform(0.005, 0.02)  # waves of blood pressure at 0.1 Hz
    phase = rng.uniform(0, tau)
    time = -LEAD_IN + mean * rng.random()
    times = []
    while time < seconds + 1:
        times.append(time)
        pressure = np.sin(0.1 * tau * time + phase)
        change = respiratory * breathing.at(time) + mayer * pressure
        jitter = 0.008 * mean * rng.standard_normal()
        time += max(mean + change + jitter, 0.3)
    return np.array(times)


def _pr_interval(case: Case, p_waves: np.ndarray) -> float:
    """Return seconds from P onset to QRS onset; shorter at high rates."""
    rate = 60 / np.diff(p_waves).mean()
    usual = case.patient.pr - 0.0005 * (rate - 70)  # 5 ms per 10 beats per minute
    usual = np.clip(usual, 0.115, 0.192)
    if case.resembles == "av_block_1":
        return max(usual, 0.185) + 0.075 * case.severity
    return usual


def _conducted(case: Case, p_waves: np.ndarray, rng: Generator) -> Rhythm:
    """Return a rhythm in which a QRS complex follows every P wave."""
    jitter = 0.002 * rng.standard_normal(len(p_waves))
    pr = _pr_interval(case, p_waves) + jitter
    return _supraventricular(p_waves + pr + QRS_ONSET_TO_PEAK, p_waves)


def _second_degree_block(case: Case, p_waves: np.ndarray, rng: Generator) -> Rhythm:
    """Return a rhythm with dropped beats.

    PR grows before the drop in Mobitz I (Wenckebach) and is constant in Mobitz II.
    """
    wenckebach = rng.random() < 0.6
    cycle = 7  # P waves up to a dropped beat
    if case.severity > 0.6:
        cycle = int(rng.integers(3, 6))
    first = rng.integers(cycle)
    position = (first + np.arange(len(p_waves))) % cycle
    pr = _pr_interval(case, p_waves) + 0.01
    if wenckebach:
        pr = pr + _WENCKEBACH[position]
    beats = p_waves + pr + QRS_ONSET_TO_PEAK
    conducted = position < cycle - 1
    return _supraventricular(beats[conducted], p_waves)


def _with_premature_beats(case: Case, p_waves: np.ndarray, rng: Generator) -> Rhythm:
    """Return a rhythm in which premature ventricular beats replace some sinus beats.

    The sinus node continues undisturbed and its next impulse meets a refractory heart.
    So the pause is compensatory: the beats around a premature one are two sinus
    intervals apart.
    """
    beats = _conducted(case, p_waves, rng).beats
    is_inside = (p_waves > 0.3) & (beats < p_waves[-1] - 2.2)
    inside = np.flatnonzero(is_inside)
    number = rng.integers(len(inside) // 2 + 1)
    first = inside[number]
    ectopic = np.zeros(len(beats), dtype=bool)
    ectopic[first] = True
    if case.severity > 0.6:  # bigeminy, trigeminy or fewer
        step = rng.choice([2, 3, 4, 6], p=[0.15, 0.2, 0.35, 0.3])
        ectopic[inside[number::step]] = True
    rr = _rr_intervals(beats)
    # Fraction of the interval after which the premature beat comes.
    coupling = rng.uniform(0.55, 0.72)
    coupling += 0.08 * (1 - min(case.severity, 1.0))
    jitter = rng.uniform(0.97, 1.03, len(beats))
    early = (1 - coupling) * rr * jitter
    beats[ectopic] -= early[ectopic]
    return Rhythm(beats, ectopic, rr, p_waves[~ectopic])


def _fibrillation(case: Case, seconds: float, rng: Generator) -> Rhythm:
    """Return an irregularly irregular rhythm: independent gamma-distributed intervals.

    The refractory time of the AV node is the lower bound of an interval.
    """
    mean = 60 / heart_rate(case, rng)
    irregular = 0.13 * min(case.severity, 1.1)
    variation = 0.10 + irregular * rng.uniform(0.9, 1.2)
    shortest = 0.45 * mean
    excess = mean - shortest
    shape = (excess / (variation * mean)) ** 2
    expected = (seconds + LEAD_IN + 1) / mean
    n = int(expected * 1.5) + 10  # more than are needed
    rr = shortest + rng.gamma(shape, excess / shape, n)
    beats = -LEAD_IN + np.cumsum(rr)
    beats = beats[beats < seconds + 1]
    # The action potential adapts to several beats, not to the last interval alone.
    intervals = 0.4 * rr[: len(beats)] + 0.6 * mean
    ectopic = np.zeros(len(beats), dtype=bool)
    return Rhythm(beats, ectopic, intervals, np.empty(0), fibrillates=True)


def _supraventricular(beats: np.ndarray, p_waves: np.ndarray) -> Rhythm:
    rr = _rr_intervals(beats)
    intervals = 0.4 * rr + 0.6 * np.median(rr)
    ectopic = np.zeros(len(beats), dtype=bool)
    return Rhythm(beats, ectopic, intervals, p_waves)


def _rr_intervals(beats: np.ndarray) -> np.ndarray:
    """Return the interval before each beat; the first beat has that of the second."""
    before = 2 * beats[0] - beats[1]
    return np.diff(beats, prepend=before)
