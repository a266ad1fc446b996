"""Rules of LRP refuse what they cannot do."""

from __future__ import annotations

import pytest
import torch
from explain_fakes import filled, signals
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.explain import gradient_x_input, lrp, lrp_z
from ecgnb.explain.rules import AlphaBeta, Epsilon


def test_rules_that_change_weights_need_one_weight():
    class Separable(nn.Module):
        relevance = "linear"

        def __init__(self):
            super().__init__()
            self.depth, self.point = nn.Conv1d(2, 2, 3, groups=2), nn.Conv1d(2, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.point(self.depth(x))

    model = filled(nn.Sequential(Separable(), nn.Flatten(), nn.Linear(42, 2)))
    torch.testing.assert_close(
        lrp_z(model, signals()), gradient_x_input(model, signals())
    )
    with pytest.raises(
        ConfigError,
        match=r"'0' \(Separable\) has several weights \(depth.weight, depth.bias, point",
    ):
        lrp(model, signals(), rule=AlphaBeta(1, 0))


@pytest.mark.parametrize(
    "make", [lambda: Epsilon(-1.0), lambda: AlphaBeta(2, 0), lambda: AlphaBeta(0, -1)]
)
def test_wrong_parameters_of_rules_are_refused(make):
    with pytest.raises(ConfigError, match=r"epsilon is|alpha - beta must be 1"):
        make()
