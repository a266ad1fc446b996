"""What one heartbeat looks like: ten waves of the heart vector, and how a disease
changes them.
"""

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
# Times in ms: peak, rise and fall of a raised cosine. P counts from the onset of P, all
# others from the R peak of a heart that beats once a second. Vector in mV: x left, y
# feet, z front.
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
# The waves of each disease at severity 1; waves that are not named stay normal.
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
_ECTOPIC = {
    "septal": (-50, 30, 34, 0.15, 0.15, 0.15),
    "R first": (0, 60, 48, 1.0, 1.0, 1.0),
    "R second": (42, 44, 62, 0.7, 0.7, 0.7),
    "ST": (205, 115, 150, -0.20, -0.20, -0.20),
    "T": (330, 150, 110, -0.45, -0.45, -0.45),
}
# Where ectopic beats may come from: outflow tract, apex of the left ventricle, its
# base.
_FOCI = np.array([[0.45, 1.15, -0.85], [-0.75, -0.90, 0.80], [-0.55, 0.80, 1.05]])
# An evolved infarct turns its T wave away from the injured wall.
_INVERTED_T = {
    "mi_anterior": (-0.10, 0.05, -0.25),
    "mi_inferior": (0.15, -0.20, 0.15),
    "mi_lateral": (-0.20, 0.15, 0.10),
}


@dataclass(frozen=True, eq=False)
class Beat:
    """The waves of one kind of beat.

    Attributes:
        waves: float64 ``[10, 6]``: peak, rise and fall in seconds, then x, y and z in
            mV; rows as in `WAVES`.
    """

    waves: np.ndarray

    @cached_property
    def qrs(self) -> tuple[float, float]:
        """Onset and end of the QRS complex, seconds from its R peak."""
        present = self.waves[QRS][np.abs(self.waves[QRS, 3:]).max(axis=1) > 0.02]
        return float((present[:, 0] - present[:, 1]).min()), float(
            (present[:, 0] + present[:, 2]).max()
        )

    def at_interval(self, rr: float) -> np.ndarray:
        """Return the waves after an interval of ``rr`` seconds: repolarisation follows
        its square root (Bazett).
        """
        factor = np.sqrt(np.clip(rr, 0.36, 1.44))
        waves, end = self.waves.copy(), self.qrs[1]
        waves[REPOLARISATION, 0] = end + factor * (waves[REPOLARISATION, 0] - end)
        waves[REPOLARISATION, 1:3] *= factor
        return waves


def sinus_beat(case: Case, evolution: float) -> Beat:
    """Return a beat that started in the sinus node or the atria.

    Args:
        case: whose heart it is, and what it suffers from, how badly.
        evolution: 0 for a fresh infarct, 1 for an evolved one whose T wave has turned;
            without effect elsewhere.
    """
    typical = _with_waves(_NORMAL, _DISEASES.get(case.resembles, {}))
    if case.resembles in _INVERTED_T:
        t_wave = WAVES.index("T")
        typical[t_wave, 3:] += evolution * (
            np.array(_INVERTED_T[case.resembles]) - typical[t_wave, 3:]
        )
    return Beat(_personal(_NORMAL + case.severity * (typical - _NORMAL), case.patient))


def ectopic_beat(case: Case) -> Beat:
    """Return a ventricular beat of this patient's own focus: wide, no P, T against the
    QRS.
    """
    which, *own = case.patient.ectopic
    direction = _FOCI[int(which * len(_FOCI))] + own
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
    """Give a beat the patient's own shape and turn milliseconds into seconds."""
    own = waves.copy()
    size = np.abs(waves[:, 3:]).max(axis=1, keepdims=True)
    own[:, 3:] = patient.gain * (
        waves[:, 3:] * patient.wave_gains + size * patient.wave_shifts
    )
    for part, stretch in zip((P, QRS, REPOLARISATION), patient.wave_times, strict=True):
        own[part, :3] *= stretch / 1000
    return own
