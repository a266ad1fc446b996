"""From a heart vector to twelve leads: one lead field for electrodes, one matrix for
the leads made of them.
"""

from __future__ import annotations

import numpy as np

#: Axes of the heart vector: x to the patient's left, y to the feet, z to the front.
ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

# Lead vectors of I, II, V1-V6 on Frank's axes (x left, y feet, z back): Dower, Machado
# and Osborne, "On deriving the electrocardiogram from vectorcardiographic leads", Clin
# Cardiol 1980;3:87-95.
_DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)


def electrode_field() -> np.ndarray:
    """Return the potential of each electrode for a unit heart vector, float64 ``[9,
    3]``.

    Potentials are against Wilson's central terminal, so RA, LA and LL sum to zero: from
    I = LA - RA and II = LL - RA follow RA = -(I + II) / 3, LA = (2 I - II) / 3 and LL =
    (2 II - I) / 3.
    """
    one, two, chest = (
        row * [1.0, 1.0, -1.0] for row in (_DOWER[0], _DOWER[1], _DOWER[2:])
    )
    return np.vstack(
        [-(one + two) / 3, (2 * one - two) / 3, (2 * two - one) / 3, chest]
    )


def lead_matrix() -> np.ndarray:
    """Return the matrix ``[12, 9]`` that makes the standard leads of electrode
    potentials.

    Every lead is a difference of potentials, so Einthoven's and Goldberger's laws hold
    whatever the electrodes pick up, noise and wander included.

    >>> leads = lead_matrix()
    >>> bool(np.allclose(leads[2], leads[1] - leads[0]))  # III = II - I
    True
    """
    matrix = np.zeros((12, 9))
    right, left, foot = np.eye(9)[:3]
    matrix[0:3] = left - right, foot - right, foot - left
    matrix[3:6] = (
        right - (left + foot) / 2,
        left - (right + foot) / 2,
        foot - (right + left) / 2,
    )
    matrix[6:] = np.eye(9)[3:] - (right + left + foot) / 3
    return matrix


def project(matrix: np.ndarray, signals: np.ndarray) -> np.ndarray:
    """Return ``matrix [m, k] @ signals [k, n_samples]`` without BLAS.

    Starting the threads of BLAS costs many times this small product, and their number
    would decide the last bit.

    >>> project(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    array([[1., 2.]])
    """
    return np.einsum("mk,kn->mn", matrix, signals)


def rotation(frontal: float, transverse: float, sagittal: float) -> np.ndarray:
    """Return the rotation ``[3, 3]`` of a heart within its chest; angles in radians.

    Args:
        frontal: turns the electrical axis towards the feet (clockwise on the hexaxial
            circle).
        transverse: turns the heart to the front, which moves R > S towards V1.
        sagittal: tips what points to the feet towards the front.
    """
    return _turn(0, 1, frontal) @ _turn(0, 2, transverse) @ _turn(1, 2, sagittal)


def _turn(first: int, second: int, angle: float) -> np.ndarray:
    """Rotate axis ``first`` towards axis ``second``."""
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first], matrix[first, second] = np.sin(angle), -np.sin(angle)
    return matrix
