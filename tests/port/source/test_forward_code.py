from __future__ import annotations

import torch
from torch import fx

from ecgnb.port.source.dependencies import Dependencies
from ecgnb.port.source.forward_code import ForwardCode


def test_source_reuses_a_name_only_when_its_tensor_is_no_longer_needed() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    one = graph.call_module("first", (x,))
    two = graph.call_module("second", (one,))
    out = graph.call_function(torch.add, (one, two))
    body = ForwardCode(Dependencies(), {x: "signal"}, set())
    assert [line.strip() for line in body.write([one, two, out], [out])] == [
        "x = self.first(signal)",
        "y = self.second(x)",
        "x = torch.add(x, y)",
    ]
