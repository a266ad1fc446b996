"""Heartbeat templates: ten waves of the heart vector, normal and with each disease."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ecgnb.data.demo.patients import Case, Patient


def _read_waves() -> dict[str, dict[str, list[float]]]:
    """Read ``beat_waves.csv``: values of each wave by beat and name of the wave.

    A wave is a raised cosine: peak, rise and fall in ms, then the vector in mV (x left,
    y feet, z front). Times of P count from the onset of P, all others from the R peak,
    at a heart rate of 60 per minute. Rows of a disease are those at severity 1; all its
    other waves are normal. Vectors of the ectopic beat are factors of the direction of
    its focus: no P wave, T opposite to the QRS complex.
    """
    waves: dict[str, dict[str, list[float]]] = defaultdict(dict)
    path = Path(__file__).with_name("beat_waves.csv")
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            beat, name, *values = row.values()
            waves[beat][name] = list(map(float, values))
    return waves


_BEATS = _read_waves()
#: Names of the waves of one beat, rows of `Beat.waves`.
WAVES = tuple(_BEATS["normal"])
# Rows of the segments of a beat.
P = slice(0, 2)
QRS = slice(2, 7)
REPOLARISATION = slice(7, 10)
_NORMAL = np.array(list(_BEATS["normal"].values()))
# Directions of ventricular foci.
_FOCI = np.array(
    [
        [0.45, 1.15, -0.85],  # outflow tract
        [-0.75, -0.90, 0.80],  # apex of the left ventricle
        [-0.55, 0.80, 1.05],  # its base
    ]
)


@dataclass(frozen=True, eq=False)
class Beat:
    """Waves of one kind of beat.

    Attributes:
        waves: float64 ``[10, 6]``: peak, rise and fall in seconds, then x, y and z in
            mV; rows as in `WAVES`.
    """

    waves: np.ndarray

    @cached_property
    def qrs(self) -> np.ndarray:
        """Onset and end of the QRS complex, in seconds from its R peak."""
        waves = self.waves[QRS]
        vectors = waves[:, 3:]  # mV
        visible = abs(vectors).max(axis=1) > 0.02
        return bounds(waves[visible])

    def at_interval(self, rr: float) -> np.ndarray:
        """Return the waves after an RR interval of ``rr`` seconds.

        Times of the repolarisation scale with the square root of ``rr`` (Bazett 1920).
        """
        factor = np.sqrt(np.clip(rr, 0.36, 1.44))
        _, end_of_qrs = self.qrs
        waves = self.waves.copy()
        late = waves[REPOLARISATION]  # a view
        delay = late[:, 0] - end_of_qrs
        late[:, 0] = end_of_qrs + factor * delay
        late[:, 1:3] *= factor
        return waves


def bounds(waves: np.ndarray) -> np.ndarray:
    """Return first onset and last end of ``k`` waves ``[..., k, 6]``, ``[..., 2]``."""
    peak = waves[..., 0]
    onset = peak - waves[..., 1]
    end = peak + waves[..., 2]
    first_onset = onset.min(axis=-1)
    last_end = end.max(axis=-1)
    return np.stack([first_onset, last_end], axis=-1)


def sinus_beat(case: Case, evolution: float) -> Beat:
    """Return a beat of sinus node or atria.

    Args:
        case: the patient, the disease and its severity.
        evolution: 0 for a fresh infarct, 1 for an evolved one with inverted T wave;
            ignored for other diseases.
    """
    typical = _with_waves(_NORMAL, case.resembles)
    if case.resembles.startswith("mi_"):
        evolved = _with_waves(typical, f"{case.resembles} evolved")
        typical += evolution * (evolved - typical)
    waves = _NORMAL + case.severity * (typical - _NORMAL)
    return Beat(_personal(waves, case.patient))


def ectopic_beat(case: Case) -> Beat:
    """Return a ventricular beat of the patient's focus: wide QRS, no P, inverted T."""
    focus, *deviation = case.patient.ectopic
    number = int(focus * len(_FOCI))
    direction = _FOCI[number] + deviation
    size = 0.7 + 0.5 * min(case.severity, 1.0)
    waves = _NORMAL.copy()
    waves[:, 3:] = 0
    waves = _with_waves(waves, "ectopic")
    waves[:, 3:] *= size * direction
    return Beat(_personal(waves, case.patient))


def _with_waves(waves: np.ndarray, beat: str) -> np.ndarray:
    """Replace the waves that ``beat_waves.csv`` has for a kind of beat."""
    changed = waves.copy()
    for name, values in _BEATS.get(beat, {}).items():
        changed[WAVES.index(name)] = values
    return changed


def _personal(waves: np.ndarray, patient: Patient) -> np.ndarray:
    """Apply the patient's variation to waves and convert ms to seconds."""
    vectors = waves[:, 3:]
    size = abs(vectors).max(axis=1, keepdims=True)
    varied = vectors * patient.wave_gains + size * patient.wave_shifts
    personal = waves.copy()
    personal[:, 3:] = patient.gain * varied
    segments = (P, QRS, REPOLARISATION)
    for segment, stretch in zip(segments, patient.wave_times, strict=True):
        personal[segment, :3] *= stretch / 1000  # ms to seconds
    return personal
