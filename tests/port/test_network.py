"""The graph writer: layouts and calls."""

from __future__ import annotations

import torch
from torch import nn

from ecgnb.port.network import CHANNELS_FIRST, KERAS, Network, Value


def test_network_transposes_a_value_once_and_back_for_nothing() -> None:
    net = Network()
    value = Value(net.graph.placeholder("ecg"), torch.zeros(1, 5, 3))
    first = net.channels_first(value)
    assert first.layout == CHANNELS_FIRST and first.example.shape == (1, 3, 5)
    assert first.shape == value.shape == (5, 3)
    assert net.channels_first(value) is first and net.keras(first) is value
    assert net.in_layout(first, None) is first and value.layout == KERAS
    assert [node.op for node in net.graph.nodes] == ["placeholder", "call_method"]


def test_network_calls_one_module_for_one_path() -> None:
    net = Network(scope="inner.", module="dense")
    value = Value(net.graph.placeholder("ecg"), torch.zeros(1, 5, 3))
    for _ in range(2):
        output = net.apply(nn.Linear, value, 3, 2)
    assert output.shape == (5, 2)
    assert list(net.made) == ["inner.dense"]
    assert net.made["inner.dense"].args == (3, 2)
    assert isinstance(net.root.get_submodule("inner.dense"), nn.Linear)
