from __future__ import annotations

import pytest
import torch
from pairs import golden_pair

from ecgnb.port.proof.reference import read_reference
from ecgnb.port.proof.segment import difference


def test_compare_checks_what_the_kept_steps_leave_out(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "pathology_avb")
    reference = read_reference(golden)
    stored = reference.layers["conv1d"]
    with torch.no_grad():
        values = (
            port.conv1d(
                torch.from_numpy(reference.inputs["conv1d_input"]).transpose(1, 2)
            )
            .transpose(1, 2)
            .numpy()
        )
    assert difference(values, stored) <= 1e-5 * stored.scale
    between = next(step for step in range(12, 2000) if step not in stored.steps)
    values[0, between, 0] = 2 * stored.scale
    assert difference(values, stored) == pytest.approx(stored.scale, rel=1e-4)
