"""Activations as layers and inside other layers."""

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
from zoo_cases import ZooModel, check_model, zoo_models


@pytest.mark.parametrize("model", zoo_models("activations_"), ids=str)
def test_activation_outputs_and_gradients_are_those_of_keras(model: ZooModel) -> None:
    check_model(model)


def test_layers_hard_sigmoid_is_that_of_the_keras_that_wrote_the_file() -> None:
    x = np.linspace(-4, 4, 81, dtype=np.float32).reshape(1, -1)
    of_keras = {2: np.clip(0.2 * x + 0.5, 0, 1), 3: np.clip(x / 6 + 0.5, 0, 1)}
    for keras, wanted in of_keras.items():
        port = port_of(
            graph_of(
                layer("Activation", activation="hard_sigmoid"), keras=keras, shape=(81,)
            )
        )
        np.testing.assert_allclose(answer(port, x), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (layer("LeakyReLU", alpha=0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
        (
            layer("ReLU", max_value=1.0, negative_slope=0.2, threshold=0.5),
            lambda x: np.where(x >= 1, 1, np.where(x > 0.5, x, 0.2 * (x - 0.5))),
        ),
        (layer("Activation", activation="tanh"), np.tanh),
        (
            layer("Softmax", axis=1),
            lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True),
        ),
    ],
    ids=lambda value: value["class_name"] if isinstance(value, dict) else "",
)
def test_layers_take_a_layer_as_their_activation(
    given: dict[str, Any], wanted: Any
) -> None:
    """Keras' rule for a ReLU with all options: f(x) = max, x, or slope * (x -
    threshold)."""
    graph = graph_of(layer("Dense", units=4, use_bias=False, activation=given))
    port = port_of(graph, kernel=np.eye(4, dtype=np.float32))
    x = noise(2, 20, 4)
    np.testing.assert_allclose(answer(port, x), wanted(x), atol=1e-6)
    assert "layer_0_activation" in dict(port.named_modules())
