"""Lead field of the torso: from the heart vector to electrodes and twelve leads.

Axes of the heart vector: x to the patient's left, y to the feet, z to the front.
"""

from __future__ import annotations

import numpy as np

#: Number of electrodes: RA, LA, LL, V1 to V6.
N_ELECTRODES = 9
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
    """Return electrode potentials of a unit heart vector, float64 ``[9, 3]``.

    Potentials are relative to Wilson's central terminal, so RA, LA and LL sum to zero:
    I = LA - RA and II = LL - RA give RA = -(I + II) / 3, LA = (2 I - II) / 3 and LL =
    (2 II - I) / 3.
    """
    one, two, *chest = _DOWER * [1.0, 1.0, -1.0]  # Frank's z axis points to the back
    right = -(one + two) / 3
    left = (2 * one - two) / 3
    foot = (2 * two - one) / 3
    return np.vstack([right, left, foot, *chest])


def lead_matrix() -> np.ndarray:
    """Return the matrix ``[12, 9]`` from electrode potentials to the standard leads.

    Every lead is a difference of potentials. So Einthoven's and Goldberger's laws hold
    for any potentials, including noise and baseline wander.

    >>> leads = lead_matrix()
    >>> bool(np.allclose(leads[2], leads[1] - leads[0]))  # III = II - I
    True
    """
    right, left, foot, *chest = np.eye(N_ELECTRODES)
    wilson = (right + left + foot) / 3
    limbs = [
        left - right,  # I
        foot - right,  # II
        foot - left,  # III
        right - (left + foot) / 2,  # aVR
        left - (right + foot) / 2,  # aVL
        foot - (right + left) / 2,  # aVF
    ]
    return np.vstack([limbs, chest - wilson])


def project(matrix: np.ndarray, signals: np.ndarray) -> np.ndarray:
    """Return ``matrix [m, k] @ signals [k, n_samples]`` without BLAS.

    Starting BLAS threads takes longer than this small product, and the number of
    threads changes the last bit.

    >>> project(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    array([[1., 2.]])
    """
    return np.einsum("mk,kn->mn", matrix, signals)


def rotation(frontal: float, transverse: float, sagittal: float) -> np.ndarray:
    """Return the rotation ``[3, 3]`` of a heart in its chest; angles in radians.

    Args:
        frontal: turns the electrical axis towards the feet (clockwise on the hexaxial
            circle).
        transverse: turns the heart to the front, which moves R > S towards V1.
        sagittal: turns the feet direction towards the front.
    """
    matrix = np.eye(3)
    # Rotations of the first axis towards the second: x to y, x to z, y to z.
    planes = ((0, 1, frontal), (0, 2, transverse), (1, 2, sagittal))
    for first, second, angle in planes:
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[second, first] = np.sin(angle)
        turn[first, second] = -np.sin(angle)
        matrix = matrix @ turn
    return matrix
