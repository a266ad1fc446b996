"""Keras 1 under the names of Keras 2."""

from __future__ import annotations

import numpy as np
import pytest
from zoo_cases import ZooModel, check_model, zoo_models

from ecgnb.port.layers import variables_of
from ecgnb.port.reading.graph import Graph, Layer
from ecgnb.port.reading.keras1 import modern_arrays, modern_layer
from ecgnb.port.reading.keras_weights import ListedWeights


@pytest.mark.parametrize("model", zoo_models("old_keras1"), ids=str)
def test_keras1_outputs_and_gradients_are_those_of_keras(model: ZooModel) -> None:
    check_model(model)


def test_weights_of_keras_1_are_taken_in_their_order() -> None:
    layer = Layer("dense_1", "Dense", {"name": "dense_1", "units": 2}, 1)
    graph = Graph("model", {"dense_1": layer}, [], [], [])
    stored = [("dense_1_W", np.zeros((3, 2))), ("dense_1_b", np.ones(2))]
    ListedWeights({"dense_1": stored}).bind(graph, variables_of)
    assert {name: array.shape for name, array in layer.arrays.items()} == {
        "kernel": (3, 2),
        "bias": (2,),
    }


def test_keras1_options_and_merges_have_the_names_of_keras_2() -> None:
    kind, options = modern_layer(
        "Convolution1D", {"nb_filter": 3, "border_mode": "same", "weights": None}
    )
    assert (kind, options) == ("Conv1D", {"filters": 3, "padding": "same"})
    merge = {"name": "m", "mode": "concat", "concat_axis": 1}
    assert modern_layer("Merge", merge) == ("Concatenate", {"name": "m", "axis": 1})


def test_keras1_gates_are_joined_in_the_order_of_keras_2() -> None:
    stored = [
        (f"lstm_1_{part}_{gate}", np.full((2, 1), number, np.float32))
        for part in "WUb"
        for number, gate in enumerate("icfo")
    ]
    arrays = dict(modern_arrays("LSTM", stored))
    assert list(arrays) == ["kernel", "recurrent_kernel", "bias"]
    assert arrays["kernel"].tolist() == [[0, 2, 1, 3]] * 2
