"""Configurations of Keras 1, 2 and 3 become one graph."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from layer_graphs import (
    INPUT,
    entry,
    functional,
    graph_of,
    keras_3,
    layer,
    nested,
    tensor,
)
from zoo_cases import ZOO, ZooModel, check_model, zoo_models

from ecgnb.core.errors import PortError
from ecgnb.port.build import (
    problems_in,
)
from ecgnb.port.ported import build_port
from ecgnb.port.reading.calls import Ref
from ecgnb.port.reading.graph import parse_graph, walk

FAMILIES = ("nested_", "shared_", "inputs_", "names_", "sequential_", "squeeze_")


@pytest.mark.parametrize("model", zoo_models(*FAMILIES), ids=str)
def test_graph_of_whole_models_gives_keras_outputs_and_gradients(
    model: ZooModel,
) -> None:
    check_model(model)


def test_graph_tells_functions_from_layers_of_one_name() -> None:
    config = functional(
        INPUT,
        entry("Add", "f", [keras_3(tensor("ecg"), 1.0)]),
        entry("Add", "g", [keras_3([tensor("ecg"), tensor("f")])], trainable=True),
        entry("SpatialDropout1D", "h", [keras_3(tensor("g"))], rate=0.1, seed=None),
        {
            **entry("Add", "i", [keras_3(tensor("h"), 1.0)]),
            "module": "keras.src.ops.numpy",
        },
        outputs=[["i", 0, 0]],
    )
    graph = parse_graph(config, 3)
    assert {name: layer.class_name for name, layer in graph.layers.items()} == {
        "ecg": "InputLayer", "f": "op:add", "g": "Add", "h": "SpatialDropout1D", "i": "op:add"
    }  # fmt: skip


def test_graph_knows_keras_3_where_the_file_does_not_say_it() -> None:
    for case, keras in (
        ("recurrent_hard_sigmoid", 3),
        ("nested_frozen", 3),
        ("nested_frozen", 2),
    ):
        for model in zoo_models(case):
            if (model.keras, model.container) == (keras, "json"):
                config = json.loads((ZOO / model.files[0]).read_text(encoding="utf-8"))
                layers = walk(parse_graph(config, 2).layers)
                assert {layer.keras for _, layer in layers} == {keras}


@pytest.mark.parametrize(
    "node",
    [
        [["ecg", 0, 0, {}], ["other", 0, 0, {}]],
        {"b": ["other", 0, 0], "a": ["ecg", 0, 0]},
    ],
)
def test_graph_gives_nested_models_their_inputs_in_order(node: Any) -> None:
    other = entry("InputLayer", "other", [], batch_input_shape=[None, 5, 3])
    config = functional(
        INPUT,
        other,
        nested(node, inputs=("a", "b")),
        inputs=[["ecg", 0, 0], ["other", 0, 0]],
        outputs=[["inner", 1, 0]],
    )
    port = build_port(parse_graph(config, 2), config, "2.6.0", "NTC")
    x, y = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    torch.testing.assert_close(port(x, y), x - y)


def test_graph_goes_through_dictionaries_by_their_keys() -> None:
    config = functional(
        INPUT,
        entry("InputLayer", "age", [], batch_input_shape=[None, 1]),
        inputs={"signal": ["ecg", 0, 0], "age": ["age", 0, 0]},
        outputs={"z": ["ecg", 0, 0], "b": ["age", 0, 0]},
    )
    graph = parse_graph(config, 2)
    assert graph.inputs == [Ref("age"), Ref("ecg")]
    assert graph.outputs == [Ref("age"), Ref("ecg")]


BROKEN = {
    "Several layers are called f": functional(
        INPUT, *[entry("Add", "f", [[["ecg", 0, 0, {}]]])] * 2
    ),
    "f takes a tensor that no layer makes": functional(
        INPUT, entry("Add", "f", [[["gone", 0, 0, {}]]])
    ),
    "whose code is not in the file": {
        "class_name": "MyNet",
        "config": {"name": "mine"},
    },
    "without layers": {
        "class_name": "Sequential",
        "config": {"name": "s", "layers": []},
    },
}


@pytest.mark.parametrize(("said", "config"), BROKEN.items(), ids=BROKEN)
def test_graph_refuses_what_contradicts_itself(
    said: str, config: dict[str, Any]
) -> None:
    with pytest.raises(PortError, match=said):
        parse_graph(config, 2)


def test_layers_masks_are_refused_only_where_one_is_used() -> None:
    embedding = layer("Embedding", input_dim=7, output_dim=3, mask_zero=True)
    assert problems_in(graph_of(embedding, layer("Flatten"), shape=(20,))) == []
    (problem,) = problems_in(
        graph_of(embedding, layer("GlobalAveragePooling1D"), shape=(20,))
    )
    assert problem.startswith(
        "layer_0 (Embedding): mask_zero=True makes a mask, which layer_1 may use"
    )
