"""Models as graphs."""

from __future__ import annotations

import pytest
import torch
from explain_fakes import signals
from torch import Tensor, fx, nn

from ecgnb.core.errors import ConfigError
from ecgnb.explain import lrp_z


def test_what_cannot_be_traced_names_the_module():
    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    model = nn.Sequential(
        nn.Sequential(nn.Conv1d(2, 2, 1), Inner()), nn.Flatten(), nn.Linear(32, 2)
    ).double()
    with pytest.raises(
        ConfigError, match=r"torch.fx cannot trace Sequential, in '0.1' \(Inner\)"
    ):
        lrp_z(model, signals())


def test_modules_of_a_graph_are_not_opened():
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 0

    root = nn.Module()
    root.add_module("sort", Sorted())
    graph = fx.Graph()
    graph.output(graph.call_module("sort", (graph.placeholder("x"),)))
    with pytest.raises(ConfigError, match=r"LRP stops at 'sort' \(Sorted\)"):
        lrp_z(fx.GraphModule(root, graph), torch.ones(1, 3))
