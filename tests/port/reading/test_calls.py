"""Nodes of Keras 1, 2 and 3 become calls with tensors and arguments."""

from __future__ import annotations

from typing import Any

import pytest
from layer_graphs import (
    INPUT,
    entry,
    functional,
    keras_3,
    nested,
    tensor,
)

from ecgnb.port.reading.calls import Ref
from ecgnb.port.reading.graph import Graph, parse_graph


def call_of(graph: Graph, layer: str) -> Any:
    (call,) = [call for call in graph.calls if call.layer == layer]
    return call


NODES = {
    "one tensor": (2, [[["ecg", 0, 0, {}]]], (Ref("ecg"),), {}),
    "Keras 1 without arguments": (1, [[["ecg", 0, 0]]], (Ref("ecg"),), {}),
    "several tensors": (
        2,
        [[["ecg", 0, 0, {"axis": 1}], ["ecg", 0, 0, {}]]],
        ([Ref("ecg")] * 2,),
        {"axis": 1},
    ),
    "tensors by name": (
        2,
        [
            [
                [
                    "ecg",
                    0,
                    0,
                    {
                        "value": ["ecg", 0, 0],
                        "masks": [["ecg", 0, 0], None],
                        "n": [1, 2, 3],
                    },
                ]
            ]
        ],
        (Ref("ecg"),),
        {"value": Ref("ecg"), "masks": [Ref("ecg"), None], "n": [1, 2, 3]},
    ),
    "of Keras 3": (
        3,
        [keras_3([tensor("ecg"), tensor("ecg")], mask=tensor("ecg"), training=False)],
        ([Ref("ecg")] * 2,),
        {"mask": Ref("ecg"), "training": False},
    ),
    "tuple of Keras 3": (
        3,
        [keras_3({"class_name": "__tuple__", "items": [tensor("ecg"), 2]})],
        ((Ref("ecg"), 2),),
        {},
    ),
}


@pytest.mark.parametrize(
    ("keras", "nodes", "args", "kwargs"), NODES.values(), ids=NODES
)
def test_calls_reads_nodes(
    keras: int, nodes: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    call = call_of(
        parse_graph(
            functional(INPUT, entry("Dense", "f", nodes, trainable=True)), keras
        ),
        "f",
    )
    assert (call.args, call.kwargs) == (args, kwargs)


def test_calls_reads_functions_of_keras_2() -> None:
    def of(node: Any) -> Any:
        return call_of(
            parse_graph(
                functional(
                    INPUT, entry("TFOpLambda", "f", [node], function="math.add")
                ),
                2,
            ),
            "f",
        )

    assert of(["ecg", 0, 0, {"y": 2.0, "name": "sum"}]).kwargs == {"y": 2.0}
    assert of(["_CONSTANT_VALUE", -1, 2.0, {"y": ["ecg", 0, 0]}]).args == (2.0,)
    assert of([["ecg", 0, 0, {"axis": 1}]]).args == ([Ref("ecg")],)


def test_calls_counts_calls_of_nested_models_from_zero() -> None:
    add = entry("Add", "f", [[["inner", 1, 0, {}], ["inner", 2, 0, {}]]])
    graph = parse_graph(
        functional(INPUT, nested([["ecg", 0, 0, {}]], [["ecg", 0, 0, {}]]), add), 2
    )
    assert [call.label for call in graph.calls] == ["inner", "inner@1", "f"]
    assert call_of(graph, "f").args == ([Ref("inner", 0), Ref("inner", 1)],)
