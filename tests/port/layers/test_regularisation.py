"""Layers that act in training only."""

from __future__ import annotations

import pytest
from layer_graphs import (
    graph_of,
    layer,
    port_of,
)
from torch import nn
from zoo_cases import ZooModel, check_model, zoo_models


@pytest.mark.parametrize("model", zoo_models("regularisation"), ids=str)
def test_regularisation_outputs_and_gradients_are_those_of_keras(
    model: ZooModel,
) -> None:
    check_model(model)


def test_regularisation_of_whole_channels_is_dropout1d() -> None:
    for config in (
        layer("SpatialDropout1D", rate=0.2),
        layer("Dropout", rate=0.2, noise_shape=[None, 1, 4]),
    ):
        assert type(port_of(graph_of(config)).layer_0) is nn.Dropout1d
