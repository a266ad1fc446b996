"""Dense and embedding layers."""

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


@pytest.mark.parametrize("model", zoo_models("embedding"), ids=str)
def test_dense_outputs_and_gradients_are_those_of_keras(model: ZooModel) -> None:
    check_model(model)


def test_layers_embedding_cuts_floats_to_whole_numbers() -> None:
    table = noise(5, 3)
    port = port_of(
        graph_of(layer("Embedding", input_dim=5, output_dim=3), shape=(4,)),
        embeddings=table,
    )
    assert np.array_equal(
        answer(port, np.array([[0.0, 1.9, 4.0, 2.5]], np.float32)),
        table[[0, 1, 4, 2]][None],
    )
