"""Layers that rescale or normalise a signal within the model."""

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


@pytest.mark.parametrize("model", zoo_models("norm_input"), ids=str)
def test_preprocessing_outputs_and_gradients_are_those_of_keras(
    model: ZooModel,
) -> None:
    check_model(model)


@pytest.mark.parametrize(
    ("axis", "shape"),
    [(-1, (1, 1, 4)), ([1, 2], (1, 20, 4)), ([1], (1, 20, 1)), (None, (1, 1, 1))],
)
def test_layers_normalization_uses_what_adapt_has_learnt(
    axis: Any, shape: tuple[int, ...]
) -> None:
    mean, variance, x = noise(*shape), np.abs(noise(*shape)) + 0.1, noise(2, 20, 4)
    stored = [size for size in shape if size > 1]
    arrays = {
        "mean": mean.reshape(stored),
        "variance": variance.reshape(stored),
        "count": np.array(8),
    }
    port = port_of(
        graph_of(layer("Normalization", axis=axis, mean=None, variance=None)), **arrays
    )
    np.testing.assert_allclose(
        answer(port, x), (x - mean) / np.sqrt(variance), atol=1e-5
    )
    back = port_of(graph_of(layer("Normalization", axis=axis, invert=True)), **arrays)
    np.testing.assert_allclose(answer(back, answer(port, x)), x, atol=1e-5)
