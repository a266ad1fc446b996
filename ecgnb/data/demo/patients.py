"""Patients and diagnoses of the demo cohort, as pure functions of seed and index."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from ecgnb.core.errors import ConfigError

CLASSES = ("NORM", "AF", "BBB", "MI", "OTHER")
DATASET = "demo"

#: Subtypes of each class and their frequency among patients of this class.
SUBTYPES: dict[str, dict[str, float]] = {
    "NORM": {"sinus_rhythm": 1.0},
    "AF": {"af_controlled": 0.6, "af_rapid": 0.4},
    "BBB": {"lbbb": 0.45, "rbbb": 0.55},
    "MI": {"mi_anterior": 0.4, "mi_inferior": 0.4, "mi_lateral": 0.2},
    "OTHER": {
        "pvc": 0.3,
        "av_block_1": 0.2,
        "av_block_2": 0.15,
        "sinus_tachycardia": 0.175,
        "sinus_bradycardia": 0.175,
    },
}
# Classes of twenty consecutive patients, in random order: a small cohort has every
# class too.
_PER_BLOCK = {"NORM": 7, "OTHER": 4, "AF": 3, "BBB": 3, "MI": 3}
_BLOCK = tuple(Counter(_PER_BLOCK).elements())
_RECORDINGS_SHARE = (0.45, 0.75, 0.9, 1.0)  # cumulative: 1, 2, 3 or 4 recordings
_SAME_DIAGNOSIS = 0.85  # probability that a recording shows the patient's class
# Subtypes that a borderline normal recording may resemble.
_LOOKALIKES = (
    "af_controlled",
    "lbbb",
    "rbbb",
    "mi_anterior",
    "mi_inferior",
    "mi_lateral",
    "av_block_1",
    "sinus_tachycardia",
    "sinus_bradycardia",
)
# Independent streams of random numbers.
_COUNTS, _PATIENT, _BLOCKS, _CASE, _LABEL, SIGNAL = range(6)
_LIMITS: dict[str, tuple[float, float]] = {
    "n_records": (1, 99_999),
    "seed": (0, 2**32 - 1),
    "fs": (100, 4000),
    "seconds": (5, 600),
    "label_noise": (0, 0.8),
    "borderline": (0, 1),
    "noise": (0, 10),
}


@dataclass(frozen=True)
class DemoConfig:
    """Configuration of the demo cohort.

    Attributes:
        n_records: recordings in the cohort; a smaller cohort is the beginning of a
            larger one.
        seed: of all random numbers.
        fs: sampling rate in Hz.
        seconds: length of each recording.
        label_noise: probability that the mapped label is wrong.
        borderline: probability that a recording shows its diagnosis only faintly, or
            that a normal one resembles another class.
        noise: scale of all noise (muscle, electrodes, breathing, mains); 0 gives a
            clean signal.

    Raises:
        ConfigError: when a value is out of its range.
    """

    n_records: int = 1000
    seed: int = 0
    fs: float = 500.0
    seconds: float = 10.0
    label_noise: float = 0.04
    borderline: float = 0.15
    noise: float = 1.0

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            kind = type(getattr(DemoConfig, name))  # int or float, of the default
            is_number = type(value) is not bool and isinstance(value, int | float)
            if not is_number or not low <= value <= high or value != kind(value):
                noun = "a whole number" if kind is int else "a number"
                raise ConfigError(
                    f"demo {name} is {value!r}; use {noun} from {low:g} to {high:g}."
                )
            # Convert: 500 and 500.0 are the same cohort with the same fingerprint.
            object.__setattr__(self, name, kind(value))

    @property
    def n_samples(self) -> int:
        """Samples per lead."""
        return round(self.fs * self.seconds)


@dataclass(frozen=True, eq=False)
class Patient:
    """One synthetic person; all recordings of the person share this.

    Attributes:
        patient_id: such as ``"P00012"``.
        age: in years.
        sex: ``"male"`` or ``"female"``.
        label: class that most recordings of this person show.
        subtypes: for each class, the subtype that this person would show.
        angles: frontal, transverse and sagittal rotation of the heart in radians.
        gain: factor of the whole heart vector.
        chest_gains: factors of the six chest electrodes for their distance ``[6]``.
        rate: usual heart rate, beats per minute.
        pr: usual PR interval, seconds.
        wave_gains: factors of the vector of each wave of a beat ``[n_waves, 3]``.
        wave_shifts: added to the vector, relative to its largest component
            ``[n_waves, 3]``.
        wave_times: factors of the times of P, QRS and T ``[3]``.
        ectopic: choice of the ectopic focus and deviation of its direction ``[4]``.
    """

    patient_id: str
    age: int
    sex: str
    label: str
    subtypes: dict[str, str]
    angles: np.ndarray
    gain: float
    chest_gains: np.ndarray
    rate: float
    pr: float
    wave_gains: np.ndarray
    wave_shifts: np.ndarray
    wave_times: np.ndarray
    ectopic: np.ndarray


@dataclass(frozen=True, eq=False)
class Case:
    """Content of one recording of the cohort.

    Attributes:
        index: position in the cohort.
        record_id: such as ``"D00001"``.
        patient: who was recorded.
        true_label: class of the signal.
        label: class in the mapping file, wrong with the probability ``label_noise``.
        subtype: of the true class.
        resembles: the subtype whose shape is drawn; differs from ``subtype`` only for
            borderline normal recordings.
        severity: 0 looks normal, 1 is typical.
        borderline: whether the severity is low on purpose.
    """

    index: int
    record_id: str
    patient: Patient
    true_label: str
    label: str
    subtype: str
    resembles: str
    severity: float
    borderline: bool


def generator(config: DemoConfig, stream: int, number: int = 0) -> Generator:
    """Return the random generator of one stream and one patient or recording."""
    return np.random.default_rng([config.seed, stream, number])


def lognormal(
    rng: Generator, median: Any, sigma: float, size: int | None = None
) -> Any:
    """Draw log-normal numbers: ``median`` times the exponential of a normal number."""
    return median * np.exp(sigma * rng.standard_normal(size))


def record_name(index: int) -> str:
    """Return the name of recording ``index`` and of its files.

    >>> record_name(0)
    'D00001'
    """
    return f"D{index + 1:05d}"


def plan_case(index: int, config: DemoConfig) -> Case:
    """Draw the patient and the diagnosis of recording ``index``."""
    rng = generator(config, _CASE, index)
    patient = _plan_patient(_patient_number(index, config), config)
    # All five in one draw, so that none depends on which of them are used.
    usual, other, faint, amount, twin = rng.random(5)
    label = patient.label
    if usual >= _SAME_DIAGNOSIS:
        label = _BLOCK[int(other * len(_BLOCK))]
    borderline = bool(faint < config.borderline)
    subtype = resembles = patient.subtypes[label]
    if label == "NORM" and borderline:
        resembles = _LOOKALIKES[int(twin * len(_LOOKALIKES))]
    return Case(
        index=index,
        record_id=record_name(index),
        patient=patient,
        true_label=label,
        label=_mapped_label(label, index, config),
        subtype=subtype,
        resembles=resembles,
        severity=_severity(label, borderline, amount),
        borderline=borderline,
    )


def _severity(label: str, borderline: bool, amount: float) -> float:
    if label == "NORM" and not borderline:
        return 0.0
    if label == "NORM":
        return 0.1 + 0.3 * amount
    if borderline:
        return 0.2 + 0.35 * amount
    return 0.75 + 0.5 * amount


def _mapped_label(label: str, index: int, config: DemoConfig) -> str:
    """Return the label, or with the probability ``label_noise`` another class."""
    wrong, which = generator(config, _LABEL, index).random(2)
    if wrong >= config.label_noise:
        return label
    others = [name for name in CLASSES if name != label]
    return others[int(which * len(others))]


def _patient_number(index: int, config: DemoConfig) -> int:
    """Return the patient of recording ``index``.

    The draws of a longer cohort begin with those of a shorter one.
    """
    draws = generator(config, _COUNTS).random(index + 1)
    counts = 1 + np.searchsorted(_RECORDINGS_SHARE, draws, side="right")
    last_of_patient = np.cumsum(counts)
    return int(np.searchsorted(last_of_patient, index, side="right"))


def _plan_patient(number: int, config: DemoConfig) -> Patient:
    # The order of the draws below decides all cohorts: keep it.
    rng = generator(config, _PATIENT, number)
    block, position = divmod(number, len(_BLOCK))
    order = generator(config, _BLOCKS, block).permutation(len(_BLOCK))
    label = _BLOCK[order[position]]
    mean_age = 50 if label == "NORM" else 66
    return Patient(
        patient_id=f"P{number + 1:05d}",
        age=int(np.clip(rng.normal(mean_age, 14), 18, 94)),
        sex="female" if rng.random() < 0.48 else "male",
        label=label,
        subtypes=_draw_subtypes(rng),
        angles=np.radians([15.0, 11.0, 9.0]) * _bounded_normal(rng, 3),
        gain=np.exp(0.24 * _bounded_normal(rng)),
        chest_gains=np.exp(0.18 * _bounded_normal(rng, 6)),
        rate=np.clip(rng.normal(71, 9), 56, 93),
        pr=np.clip(rng.normal(0.155, 0.015), 0.125, 0.188),
        wave_gains=np.exp(0.18 * _bounded_normal(rng, (10, 3))),
        wave_shifts=0.10 * _bounded_normal(rng, (10, 3)),
        wave_times=np.exp([0.08, 0.05, 0.04] * _bounded_normal(rng, 3)),
        ectopic=np.append(rng.random(), 0.15 * _bounded_normal(rng, 3)),
    )


def _draw_subtypes(rng: Generator) -> dict[str, str]:
    subtypes = {}
    for label, frequencies in SUBTYPES.items():
        names = list(frequencies)
        subtypes[label] = str(rng.choice(names, p=list(frequencies.values())))
    return subtypes


def _bounded_normal(rng: Generator, size: int | tuple[int, ...] | None = None) -> Any:
    """Draw normal numbers within 2 sd; the tails would be another diagnosis."""
    return np.clip(rng.standard_normal(size), -2, 2)
