"""Lead field: Dower's lead vectors, Einthoven's law, rotation of the heart."""

from __future__ import annotations

import numpy as np

from ecgnb.data.demo.lead_vectors import electrode_field, lead_matrix, rotation
from ecgnb.data.signal.leads import STANDARD_12


def test_lead_vectors_are_dower_s_and_the_limb_electrodes_sum_to_zero():
    field = electrode_field()
    leads = lead_matrix() @ field
    np.testing.assert_allclose(field[:3].sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(
        leads[STANDARD_12.index("I")], [0.632, -0.235, -0.059], atol=1e-12
    )
    np.testing.assert_allclose(
        leads[STANDARD_12.index("V1")], [-0.515, 0.157, 0.917], atol=1e-12
    )
    np.testing.assert_allclose(
        leads[STANDARD_12.index("aVR")], -(leads[0] + leads[1]) / 2, atol=1e-12
    )


def test_rotation_keeps_lengths_and_turns_as_documented():
    turn = rotation(0.3, -0.2, 0.1)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(
        rotation(np.pi / 2, 0, 0) @ [1, 0, 0], [0, 1, 0], atol=1e-12
    )  # left -> feet
    np.testing.assert_allclose(
        rotation(0, np.pi / 2, 0) @ [1, 0, 0], [0, 0, 1], atol=1e-12
    )  # left -> front
    np.testing.assert_allclose(
        rotation(0, 0, np.pi / 2) @ [0, 1, 0], [0, 0, 1], atol=1e-12
    )  # feet -> front
