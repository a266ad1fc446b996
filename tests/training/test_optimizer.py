from __future__ import annotations

import pytest
import torch
from torch import nn
from training_fakes import make_model

from ecgnb.training.config import TrainConfig
from ecgnb.training.optimizer import make_optimizer


def test_norms_and_biases_do_not_decay() -> None:
    model = make_model()
    decayed, kept = make_optimizer(model, TrainConfig(weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.3, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [(8, 2, 7), (8, 8, 5), (3, 88)]
    assert [tuple(p.shape) for p in kept["params"]] == [(8,), (8,), (8,), (3,)]


def test_frozen_parameters_are_left_out() -> None:
    model = make_model()
    for parameter in list(model.parameters())[:-1]:
        parameter.requires_grad_(False)
    (group,) = make_optimizer(model, TrainConfig()).param_groups
    assert len(group["params"]) == 1


@pytest.mark.parametrize("fused", [True, False])
def test_first_step_by_hand(fused: bool) -> None:
    """Without gradients' history Adam's first step is lr * sign(gradient); decay takes lr * decay * weight."""
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.fill_(3.0)
    optimizer = make_optimizer(layer, TrainConfig(lr=0.1, weight_decay=0.5), fused=fused)
    layer(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    assert layer.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)
    assert layer.bias.item() == pytest.approx(3.0 - 0.1, abs=1e-6)
