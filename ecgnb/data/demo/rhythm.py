"""Heart rhythms of the demo cohort: times of P waves and QRS complexes."""

from __future__ import annotations

from dataclasses import dataclass
from math import tau

import numpy as np

from ecgnb.data.demo.patients import Case, lognormal

#: Seconds before the recording at which the rhythm starts, so that the first visible
#: beat has a preceding one.
LEAD_IN = 3.0
#: Seconds from the onset of a normal QRS complex to its R peak.
QRS_ONSET_TO_PEAK = 0.045


@dataclass(frozen=True)
class Breathing:
    """Respiration: moves baseline, amplitude and sinus node with one frequency."""

    hertz: float
    phase: float

    def at(self, seconds: np.ndarray | float) -> np.ndarray:
        """Return the lung volume, scaled to -1..1, at times in seconds."""
        return np.sin(tau * self.hertz * np.asarray(seconds) + self.phase)


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


def draw_breathing(rng: np.random.Generator) -> Breathing:
    """Draw a respiration of 9 to 24 breaths per minute."""
    hertz = float(rng.uniform(0.15, 0.4))
    return Breathing(hertz, phase=float(rng.uniform(0, tau)))


def make_rhythm(
    case: Case, seconds: float, breathing: Breathing, rng: np.random.Generator
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


def heart_rate(case: Case, rng: np.random.Generator) -> float:
    """Draw beats per minute; the rate of one person varies between recordings."""
    usual = float(lognormal(rng, case.patient.rate, 0.07))
    amount = case.severity * rng.uniform(0.8, 1.2)
    if case.true_label == "NORM" and case.resembles == "af_controlled":
        return usual
    if case.true_label == "NORM" and case.resembles == "sinus_tachycardia":
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
    return float(np.clip(rate, 34, 175))


def _sinus_node(
    case: Case, seconds: float, breathing: Breathing, rng: np.random.Generator
) -> np.ndarray:
    """Return onsets of P waves: a mean rate with the three known modulations."""
    mean = 60 / heart_rate(case, rng)
    # Respiratory sinus arrhythmia decreases with age.
    youth = np.clip((75 - case.patient.age) / 50, 0.1, 1.0)
    respiratory = mean * youth * rng.uniform(0.01, 0.06)
    if case.true_label == "NORM" and case.resembles == "af_controlled":
        respiratory += 0.3 * case.severity  # a marked sinus arrhythmia
    mayer = mean * rng.uniform(0.005, 0.02)  # waves of blood pressure at 0.1 Hz
    phase = rng.uniform(0, tau)
    time = -LEAD_IN + mean * rng.random()
    times = []
    while time < seconds + 1:
        times.append(time)
        change = respiratory * breathing.at(time)
        change = change + mayer * np.sin(0.1 * tau * time + phase)
        interval = mean + float(change) + 0.008 * mean * rng.standard_normal()
        time += max(interval, 0.3)
    return np.array(times)


def _pr_interval(case: Case, p_waves: np.ndarray) -> float:
    """Return seconds from P onset to QRS onset; shorter at high rates."""
    rate = 60 / float(np.diff(p_waves).mean())
    usual = float(np.clip(case.patient.pr - 0.0005 * (rate - 70), 0.115, 0.192))
    if case.resembles == "av_block_1":
        return max(usual, 0.185) + 0.075 * case.severity
    return usual


def _conducted(case: Case, p_waves: np.ndarray, rng: np.random.Generator) -> Rhythm:
    """Return a rhythm in which a QRS complex follows every P wave."""
    pr = _pr_interval(case, p_waves) + 0.002 * rng.standard_normal(len(p_waves))
    return _supraventricular(p_waves + pr + QRS_ONSET_TO_PEAK, p_waves)


def _second_degree_block(
    case: Case, p_waves: np.ndarray, rng: np.random.Generator
) -> Rhythm:
    """Return a rhythm with dropped beats.

    PR grows before the drop in Mobitz I (Wenckebach) and is constant in Mobitz II.
    """
    wenckebach = rng.random() < 0.6
    cycle = int(rng.integers(3, 6)) if case.severity > 0.6 else 7
    position = (np.arange(len(p_waves)) + int(rng.integers(cycle))) % cycle
    growth = np.array([0.0, 0.075, 0.115, 0.14, 0.155, 0.165]) * wenckebach  # seconds
    pr = _pr_interval(case, p_waves) + 0.01 + growth[np.minimum(position, 5)]
    beats = p_waves + pr + QRS_ONSET_TO_PEAK
    return _supraventricular(beats[position < cycle - 1], p_waves)


def _with_premature_beats(
    case: Case, p_waves: np.ndarray, rng: np.random.Generator
) -> Rhythm:
    """Return a rhythm in which premature ventricular beats replace some sinus beats.

    The sinus node continues undisturbed and its next impulse meets a refractory heart.
    So the pause is compensatory: the beats around a premature one are two sinus
    intervals apart.
    """
    beats = _conducted(case, p_waves, rng).beats
    inside = np.flatnonzero((p_waves > 0.3) & (beats < p_waves[-1] - 2.2))
    chosen = inside[int(rng.integers(len(inside) // 2 + 1))]
    if case.severity > 0.6:  # bigeminy, trigeminy or fewer
        step = int(rng.choice([2, 3, 4, 6], p=[0.15, 0.2, 0.35, 0.3]))
        chosen = inside[(inside >= chosen) & ((inside - chosen) % step == 0)]
    ectopic = np.zeros(len(beats), dtype=bool)
    ectopic[chosen] = True
    rr = np.diff(beats, prepend=2 * beats[0] - beats[1])
    coupling = rng.uniform(0.55, 0.72) + 0.08 * (1 - min(case.severity, 1.0))
    early = (1 - coupling) * rr * rng.uniform(0.97, 1.03, len(beats))
    beats[ectopic] -= early[ectopic]
    return Rhythm(beats, ectopic, rr, p_waves[~ectopic])


def _fibrillation(case: Case, seconds: float, rng: np.random.Generator) -> Rhythm:
    """Return an irregularly irregular rhythm: independent gamma-distributed intervals.

    The refractory time of the AV node is the lower bound of an interval.
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
    ectopic = np.zeros(len(intervals), dtype=bool)
    return Rhythm(beats[keep], ectopic, intervals, np.empty(0), fibrillates=True)


def _supraventricular(beats: np.ndarray, p_waves: np.ndarray) -> Rhythm:
    rr = np.diff(beats, prepend=2 * beats[0] - beats[1])
    intervals = 0.4 * rr + 0.6 * float(np.median(rr))
    return Rhythm(beats, np.zeros(len(beats), dtype=bool), intervals, p_waves)
