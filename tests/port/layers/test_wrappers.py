"""Layers that hold other layers."""

from __future__ import annotations

import pytest
from zoo_cases import ZooModel, check_model, zoo_models


@pytest.mark.parametrize(
    "model", zoo_models("bidirectional_", "time_distributed"), ids=str
)
def test_wrappers_outputs_and_gradients_are_those_of_keras(model: ZooModel) -> None:
    check_model(model)
