"""The graph of PyTorch modules: labels, module names, weights that do not fit."""

from __future__ import annotations

import pytest
import torch
from layer_graphs import (
    INPUT,
    entry,
    functional,
    nested,
)
from torch import nn

from ecgnb.core.errors import PortError
from ecgnb.port.build import (
    load_state,
    write_graph,
)
from ecgnb.port.ported import build_port
from ecgnb.port.reading.graph import parse_graph


def test_graph_labels_second_calls_of_nested_models() -> None:
    add = entry("Add", "f", [[["inner", 1, 0, {}], ["inner", 2, 0, {}]]])
    inputs = ("a", "b")
    twice = [[["ecg", 0, 0, {}], ["ecg", 0, 0, {}]]] * 2
    written = write_graph(
        parse_graph(functional(INPUT, nested(*twice, inputs=inputs), add), 2), "NTC"
    )
    labels = [
        node.meta["keras"]
        for node in written.network.graph.nodes
        if "keras" in node.meta
    ]
    assert labels == ["inner/minus", "inner@1/minus", "f"]
    assert written.modules["inner/minus"] == "inner.minus"


def test_graph_two_layers_never_share_a_module() -> None:
    dense = entry("Dense", "d", [[["ecg", 0, 0, {}]]], units=3, activation="tanh")
    own = entry("Activation", "d_activation", [[["d", 0, 0, {}]]], activation="relu")
    config = functional(INPUT, dense, own, outputs=[["d_activation", 0, 0]])
    port = build_port(parse_graph(config, 2), config, "2.6.0", "NTC")
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(port(x), torch.relu(torch.tanh(port.d(x))))
    own = entry("Activation", "d_activation", [[["ecg", 0, 0, {}]]], activation="relu")
    dense = entry(
        "Dense", "d", [[["d_activation", 0, 0, {}]]], units=3, activation="tanh"
    )
    with pytest.raises(
        PortError, match="would share the module 'd_activation' because of their names"
    ):
        write_graph(
            parse_graph(functional(INPUT, own, dense, outputs=[["d", 0, 0]]), 2), "NTC"
        )


def test_build_refuses_a_state_that_does_not_fit() -> None:
    model = nn.Linear(3, 2)
    state = {"weight": torch.zeros(2, 4), "extra": torch.full((1,), float("nan"))}
    with pytest.raises(PortError, match="do not fit the architecture") as error:
        load_state(model, state)
    for part in (
        "bias is missing",
        "weight has the shape [2, 4], the configuration makes [2, 3]",
        "extra is not in the model",
        "extra holds NaN",
    ):
        assert part in str(error.value)
