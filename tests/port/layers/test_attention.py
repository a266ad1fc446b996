"""Attention over time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_graphs import filled
from layer_graphs import named_layer as layer
from zoo_cases import ZooModel, check_model, zoo_models

from ecgnb.core.errors import PortError
from ecgnb.port.reading.graph import Graph, parse_graph


@pytest.mark.parametrize("model", zoo_models("attention_", "transformer_"), ids=str)
def test_attention_outputs_and_gradients_are_those_of_keras(model: ZooModel) -> None:
    check_model(model)


def attention_arrays(
    heads: int, size: int, value_size: int, out: int = 3
) -> dict[str, np.ndarray]:
    random = np.random.default_rng(4)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, width in (("query", size), ("key", size), ("value", value_size)):
        shapes |= {f"{name}/kernel": (3, heads, width), f"{name}/bias": (heads, width)}
    shapes |= {
        "attention_output/kernel": (heads, value_size, out),
        "attention_output/bias": (out,),
    }
    return {
        name: random.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def self_attention(**config: Any) -> Graph:
    given = {
        "config": {"name": "ecg", "batch_input_shape": [None, 7, 3]},
        "name": "ecg",
        "inbound_nodes": [],
    }
    calls = [[["ecg", 0, 0, {"value": ["ecg", 0, 0]}]]]
    attention = {
        **layer("MultiHeadAttention", **config),
        "name": "layer",
        "inbound_nodes": calls,
    }
    layers = [{"class_name": "InputLayer", **given}, attention]
    ends = {"input_layers": [["ecg", 0, 0]], "output_layers": [["layer", 0, 0]]}
    return parse_graph(
        {
            "class_name": "Functional",
            "config": {"name": "model", "layers": layers, **ends},
        },
        2,
    )


@pytest.mark.parametrize(
    ("array", "stored", "said"),
    [
        ("query/kernel", (2, 8, 8), r"\[3, 2, 8\].*\[any, 8, 2\]"),
        ("key/bias", (2, 8, 8), r"\[2, 8\].*\[8, 2\]"),
        ("value/kernel", (4, 2, 4), r"\[3, 4, 4\].*\[any, 8, 2\]"),
        ("attention_output/kernel", (2, 8, 8), r"\[2, 8, 3\].*\[8, 2, any\]"),
    ],
)
def test_layers_attention_refuses_weights_of_another_split_into_heads(
    array: str, stored: tuple[int, int, int], said: str
) -> None:
    arrays = attention_arrays(8, 2, 2)
    filled(self_attention(num_heads=8, key_dim=2), **arrays)
    spoiled = {**arrays, array: attention_arrays(*stored)[array]}
    with pytest.raises(
        PortError,
        match=rf"layer 'layer' \(MultiHeadAttention\) stores '{array}' .*{said}",
    ):
        filled(self_attention(num_heads=8, key_dim=2), **spoiled)
