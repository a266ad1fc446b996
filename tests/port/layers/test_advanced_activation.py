"""Activations with options or weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_graphs import (
    answer,
    graph_of,
    layer,
    noise,
    port_of,
)
from torch import nn
from zoo_cases import ZooModel, check_model, zoo_models

from ecgnb.port.modules import keras_activation as activation_modules


@pytest.mark.parametrize("model", zoo_models("activation_layers"), ids=str)
def test_advanced_activation_outputs_and_gradients_are_those_of_keras(
    model: ZooModel,
) -> None:
    check_model(model)


@pytest.mark.parametrize(
    ("keras", "config", "slope"),
    [
        (2, {}, 0.3),
        (2, {"alpha": 0.10000000149011612}, 0.1),
        (2, {"alpha": {"type": "ndarray", "value": 0.25}}, 0.25),
        (3, {"negative_slope": 0.2}, 0.2),
    ],
)
def test_layers_leaky_relu_has_the_slope_of_either_keras(
    keras: int, config: dict[str, Any], slope: float
) -> None:
    port = port_of(graph_of(layer("LeakyReLU", **config), keras=keras))
    assert isinstance(port.layer_0, nn.LeakyReLU)
    assert port.layer_0.negative_slope == slope


def test_layers_relu_with_a_limit_of_0_gives_0_and_its_slope() -> None:
    x = noise(2, 20, 4)
    assert not answer(port_of(graph_of(layer("ReLU", max_value=0.0))), x).any()
    sloped = port_of(graph_of(layer("ReLU", max_value=0.0, negative_slope=0.25)))
    np.testing.assert_allclose(answer(sloped, x), np.minimum(0.25 * x, 0), atol=1e-6)


@pytest.mark.parametrize(
    ("shared", "kind", "shape"),
    [
        ([1], nn.PReLU, (1, 4)),
        ([2], nn.PReLU, (20, 1)),
        ([1, 2], nn.PReLU, (1, 1)),
        (None, None, (20, 4)),
    ],
)
def test_layers_prelu_has_a_slope_for_each_place_that_is_not_shared(
    shared: Any, kind: Any, shape: Any
) -> None:
    alpha, x = np.abs(noise(*shape)), noise(2, 20, 4)
    port = port_of(graph_of(layer("PReLU", shared_axes=shared)), alpha=alpha)
    assert type(port.layer_0) is (kind or activation_modules.ParametricReLU)
    np.testing.assert_allclose(
        answer(port, x), np.where(x > 0, x, alpha * x), atol=1e-6
    )
