"""Heartbeat templates: ten waves of the heart vector, normal and with each disease."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ecgnb.data.demo.patients import Case, Patient

#: Names of the waves of one beat, rows of `Beat.waves`.
WAVES = (
    "P right",
    "P left",
    "septal",
    "R first",
    "R second",
    "basal",
    "terminal",
    "ST",
    "T",
    "U",
)
P, QRS, REPOLARISATION = slice(0, 2), slice(2, 7), slice(7, 10)
# Columns: peak, rise and fall of a raised cosine in ms, then the vector in mV (x left,
# y feet, z front). Times of P count from the onset of P, all others from the R peak, at
# a heart rate of 60 per minute.
_NORMAL = np.array(
    [
        [38, 38, 46, 0.030, 0.085, 0.050],
        [70, 42, 42, 0.060, 0.055, -0.050],
        [-26, 18, 20, -0.130, -0.050, 0.300],
        [0, 29, 27, 1.050, 0.630, 0.060],
        [14, 23, 25, 0.250, 0.200, -0.820],
        [34, 18, 20, -0.200, -0.100, -0.460],
        [70, 30, 40, 0.000, 0.000, 0.000],
        [75, 55, 220, 0.020, 0.010, 0.035],
        [292, 138, 88, 0.300, 0.170, 0.180],
        [470, 70, 90, 0.012, 0.010, 0.025],
    ]
)
# Waves of each disease at severity 1; all other waves are normal.
_DISEASES: dict[str, dict[str, tuple[float, ...]]] = {
    "lbbb": {
        "septal": (-32, 22, 26, 0.22, 0.08, -0.10),
        "R first": (4, 44, 48, 0.74, 0.27, -0.62),
        "R second": (51, 46, 46, 0.74, 0.12, -0.92),
        "basal": (84, 30, 36, 0.12, 0.00, -0.35),
        "ST": (190, 110, 150, -0.10, -0.04, 0.18),
        "T": (335, 145, 100, -0.30, -0.08, 0.38),
    },
    "rbbb": {
        "septal": (-27, 17, 21, -0.15, -0.05, 0.36),
        "R second": (14, 23, 27, 0.25, 0.20, -0.55),
        "basal": (38, 20, 26, -0.12, -0.10, -0.12),
        "terminal": (76, 40, 52, -0.55, -0.06, 0.60),
        "T": (315, 150, 95, 0.33, 0.20, -0.24),
    },
    "mi_anterior": {
        "septal": (-26, 18, 26, 0.05, 0.02, -0.38),
        "R first": (0, 29, 27, 0.76, 0.58, -0.62),
        "ST": (80, 65, 210, 0.12, -0.08, 0.27),
        "T": (285, 150, 110, 0.20, 0.12, 0.32),
    },
    "mi_inferior": {
        "septal": (-24, 20, 28, 0.10, -0.42, 0.10),
        "R first": (2, 29, 27, 0.90, 0.45, -0.15),
        "ST": (80, 65, 210, -0.05, 0.25, -0.08),
        "T": (285, 150, 110, 0.12, 0.30, 0.06),
    },
    "mi_lateral": {
        "septal": (-24, 20, 28, -0.42, 0.05, 0.12),
        "R first": (2, 29, 27, 0.65, 0.72, -0.12),
        "ST": (80, 65, 210, 0.27, -0.12, -0.04),
        "T": (285, 150, 110, 0.32, 0.06, 0.05),
    },
    "af_controlled": {"T": (292, 138, 88, 0.19, 0.15, 0.10)},
    "af_rapid": {
        "ST": (75, 55, 220, -0.03, -0.02, 0.00),
        "T": (292, 138, 88, 0.16, 0.13, 0.10),
    },
}
# Vectors of a ventricular beat as factors of the direction of its focus; no P wave, T
# opposite to the QRS complex.
_ECTOPIC = {
    "septal": (-50, 30, 34, 0.15, 0.15, 0.15),
    "R first": (0, 60, 48, 1.0, 1.0, 1.0),
    "R second": (42, 44, 62, 0.7, 0.7, 0.7),
    "ST": (205, 115, 150, -0.20, -0.20, -0.20),
    "T": (330, 150, 110, -0.45, -0.45, -0.45),
}
# Directions of ventricular foci: outflow tract, apex of the left ventricle, its base.
_FOCI = np.array([[0.45, 1.15, -0.85], [-0.75, -0.90, 0.80], [-0.55, 0.80, 1.05]])
# T vectors of an evolved infarct point away from the injured wall, in mV.
_EVOLVED_T = {
    "mi_anterior": (-0.10, 0.05, -0.25),
    "mi_inferior": (0.15, -0.20, 0.15),
    "mi_lateral": (-0.20, 0.15, 0.10),
}


@dataclass(frozen=True, eq=False)
class Beat:
    """Waves of one kind of beat.

    Attributes:
        waves: float64 ``[10, 6]``: peak, rise and fall in seconds, then x, y and z in
            mV; rows as in `WAVES`.
    """

    waves: np.ndarray

    @cached_property
    def qrs(self) -> tuple[float, float]:
        """Onset and end of the QRS complex, in seconds from its R peak."""
        visible = np.abs(self.waves[QRS, 3:]).max(axis=1) > 0.02  # mV
        peak, rise, fall = self.waves[QRS, :3][visible].T
        return float((peak - rise).min()), float((peak + fall).max())

    def at_interval(self, rr: float) -> np.ndarray:
        """Return the waves after an RR interval of ``rr`` seconds.

        Times of the repolarisation scale with the square root of ``rr`` (Bazett 1920).
        """
        factor = np.sqrt(np.clip(rr, 0.36, 1.44))
        waves = self.waves.copy()
        end = self.qrs[1]
        waves[REPOLARISATION, 0] = end + factor * (waves[REPOLARISATION, 0] - end)
        waves[REPOLARISATION, 1:3] *= factor
        return waves


def sinus_beat(case: Case, evolution: float) -> Beat:
    """Return a beat of sinus node or atria.

    Args:
        case: the patient, the disease and its severity.
        evolution: 0 for a fresh infarct, 1 for an evolved one with inverted T wave;
            ignored for other diseases.
    """
    typical = _with_waves(_NORMAL, _DISEASES.get(case.resembles, {}))
    if case.resembles in _EVOLVED_T:
        t_vector = typical[WAVES.index("T"), 3:]  # a view
        t_vector += evolution * (np.array(_EVOLVED_T[case.resembles]) - t_vector)
    waves = _NORMAL + case.severity * (typical - _NORMAL)
    return Beat(_personal(waves, case.patient))


def ectopic_beat(case: Case) -> Beat:
    """Return a ventricular beat of the patient's focus: wide QRS, no P, inverted T."""
    focus, *deviation = case.patient.ectopic
    direction = _FOCI[int(focus * len(_FOCI))] + deviation
    waves = np.zeros_like(_NORMAL)
    waves[:, :3] = _NORMAL[:, :3]
    waves = _with_waves(waves, _ECTOPIC)
    waves[:, 3:] *= direction * (0.7 + 0.5 * min(case.severity, 1.0))
    return Beat(_personal(waves, case.patient))


def _with_waves(
    waves: np.ndarray, changes: Mapping[str, tuple[float, ...]]
) -> np.ndarray:
    changed = waves.copy()
    for name, values in changes.items():
        changed[WAVES.index(name)] = values
    return changed


def _personal(waves: np.ndarray, patient: Patient) -> np.ndarray:
    """Apply the patient's variation to waves and convert ms to seconds."""
    personal = waves.copy()
    vectors = waves[:, 3:]
    size = np.abs(vectors).max(axis=1, keepdims=True)
    varied = vectors * patient.wave_gains + size * patient.wave_shifts
    personal[:, 3:] = patient.gain * varied
    for part, stretch in zip((P, QRS, REPOLARISATION), patient.wave_times, strict=True):
        personal[part, :3] *= stretch / 1000  # ms to seconds
    return personal
