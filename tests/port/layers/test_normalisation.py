"""Normalisation by batch, layer or group."""

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


@pytest.mark.parametrize(
    "model", zoo_models("norm_batch", "norm_group", "norm_layer", "norm_rms"), ids=str
)
def test_normalisation_outputs_and_gradients_are_those_of_keras(
    model: ZooModel,
) -> None:
    check_model(model)


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_layers_batch_normalisation_of_beats_is_over_its_axis(axis: int) -> None:
    x = noise(2, 3, 5, 4)
    size = x.shape[axis]
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    arrays = {name: np.abs(noise(size)) + place for place, name in enumerate(names)}
    across = [1, 1, 1, 1]
    across[axis] = size
    gamma, beta, mean, variance = (arrays[name].reshape(across) for name in names)
    port = port_of(
        graph_of(
            layer("BatchNormalization", axis=[axis], epsilon=0.1), shape=(3, 5, 4)
        ),
        **arrays,
    )
    np.testing.assert_allclose(
        answer(port, x), gamma * (x - mean) / np.sqrt(variance + 0.1) + beta, atol=1e-5
    )


@pytest.mark.parametrize("axes", [[3], [1, 2], [1, 3], [1, 2, 3]])
def test_layers_layer_normalisation_of_beats_is_over_its_axes(axes: list[int]) -> None:
    x = noise(2, 3, 5, 4)
    shape = tuple(x.shape[axis] for axis in axes)
    across = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    gamma, beta = noise(*shape), noise(*shape) + 1
    mean, variance = (
        x.mean(tuple(axes), keepdims=True),
        x.var(tuple(axes), keepdims=True),
    )
    port = port_of(
        graph_of(layer("LayerNormalization", axis=axes), shape=(3, 5, 4)),
        gamma=gamma,
        beta=beta,
    )
    wanted = (x - mean) / np.sqrt(variance + 1e-3) * gamma.reshape(
        across
    ) + beta.reshape(across)
    np.testing.assert_allclose(answer(port, x), wanted, atol=1e-5)
