"""Layers that move values."""

from __future__ import annotations

import numpy as np
import pytest
from layer_graphs import (
    answer,
    graph_of,
    layer,
    noise,
    port_of,
)
from zoo_cases import ZooModel, check_model, zoo_models


@pytest.mark.parametrize("model", zoo_models("shapes"), ids=str)
def test_shape_outputs_and_gradients_are_those_of_keras(model: ZooModel) -> None:
    check_model(model)


@pytest.mark.parametrize("size", [2, 3, 41, 47])
def test_layers_upsampling_repeats_every_sample(size: int) -> None:
    x = noise(1, 300, 2)
    port = port_of(graph_of(layer("UpSampling1D", size=size), shape=(300, 2)))
    assert np.array_equal(answer(port, x), x.repeat(size, axis=1))
