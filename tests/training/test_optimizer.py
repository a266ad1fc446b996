from __future__ import annotations

import pytest
import torch
from torch import nn
from training_fakes import make_model

from ecgnb.core.errors import ConfigError
from ecgnb.training.config import TrainConfig
from ecgnb.training.optimizer import (
    learning_rate,
    make_optimizer,
    set_learning_rate,
)


def test_norms_and_biases_do_not_decay() -> None:
    model = make_model()
    decayed, kept = make_optimizer(model, TrainConfig(weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.3, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [
        (8, 2, 7),
        (8, 8, 5),
        (3, 88),
    ]
    assert [tuple(p.shape) for p in kept["params"]] == [(8,), (8,), (8,), (3,)]


def test_frozen_parameters_are_left_out() -> None:
    model = make_model()
    for parameter in list(model.parameters())[:-1]:
        parameter.requires_grad_(False)
    (group,) = make_optimizer(model, TrainConfig()).param_groups
    assert len(group["params"]) == 1


@pytest.mark.parametrize("fused", [True, False])
def test_first_step_by_hand(fused: bool) -> None:
    """Without gradients' history Adam's first step is lr * sign(gradient); decay takes
    lr * decay * weight."""
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.fill_(3.0)
    optimizer = make_optimizer(
        layer, TrainConfig(lr=0.1, weight_decay=0.5), fused=fused
    )
    layer(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    assert layer.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)
    assert layer.bias.item() == pytest.approx(3.0 - 0.1, abs=1e-6)


def test_layer_decay_scales_the_groups() -> None:
    """Four groups of layers: stem, two stages, head; in each the weights that decay and
    the others."""
    model = make_model("resnet1d")
    optimizer = make_optimizer(
        model, TrainConfig(lr=0.01, layer_decay=0.5, weight_decay=0.3)
    )
    scales = [group["lr_scale"] for group in optimizer.param_groups]
    assert scales == [0.125, 0.125, 0.25, 0.25, 0.5, 0.5, 1.0, 1.0]
    assert [group["lr"] for group in optimizer.param_groups] == [
        0.01 * scale for scale in scales
    ]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0] * 4
    found = [
        parameter for group in optimizer.param_groups for parameter in group["params"]
    ]
    assert len(found) == len(set(found)) == len(list(model.parameters()))
    set_learning_rate(optimizer, 0.08)
    assert [group["lr"] for group in optimizer.param_groups] == [
        0.08 * scale for scale in scales
    ]


def test_without_layer_decay_the_order_is_the_models_own() -> None:
    """Optimizer states of older checkpoints go by this order."""
    model = make_model("resnet1d")
    decayed, kept = make_optimizer(model, TrainConfig()).param_groups
    for group, wanted in (
        (decayed, [p for p in model.parameters() if p.ndim > 1]),
        (kept, [p for p in model.parameters() if p.ndim == 1]),
    ):
        assert list(map(id, group["params"])) == list(map(id, wanted))


def test_layer_decay_goes_by_the_models_layers() -> None:
    with pytest.raises(
        ConfigError, match=r"layer_decay=0\.5 needs a model .* and Sequential has none"
    ):
        make_optimizer(make_model(), TrainConfig(layer_decay=0.5))


STEPS = (0, 1, 2, 6, 10, 11, 15, 19)
GOLDEN = {
    "cosine": [0.5, 1.0, 1.0, 0.883022, 0.586824, 0.5, 0.178606, 0.007596],
    "step": [0.5, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01],
    "one-cycle": [
        0.04,
        0.131672,
        0.371672,
        0.987464,
        0.716943,
        0.611262,
        0.188258,
        4e-06,
    ],
    "none": [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
}


@pytest.mark.parametrize("scheduler", GOLDEN)
def test_golden_numbers(scheduler: str) -> None:
    config = TrainConfig(lr=1.0, scheduler=scheduler, warmup_fraction=0.1)
    found = [learning_rate(step, 20, config) for step in STEPS]
    assert found == pytest.approx(GOLDEN[scheduler], abs=1e-6)


def _rates_of_torch(make_scheduler: type, n: int, **options: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = make_scheduler(optimizer, **options)
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("n", [7, 40, 333])
def test_parity_with_pytorch(n: int) -> None:
    ours = TrainConfig(lr=0.3, scheduler="one-cycle")
    theirs = _rates_of_torch(
        torch.optim.lr_scheduler.OneCycleLR, n, max_lr=0.3, total_steps=n
    )
    assert [learning_rate(step, n, ours) for step in range(n)] == pytest.approx(
        theirs, rel=1e-9
    )
    ours = TrainConfig(lr=0.3, scheduler="cosine", warmup_fraction=0)
    theirs = _rates_of_torch(torch.optim.lr_scheduler.CosineAnnealingLR, n, T_max=n)
    assert [learning_rate(step, n, ours) for step in range(n)] == pytest.approx(
        theirs, rel=1e-9
    )


@pytest.mark.parametrize("scheduler", GOLDEN)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_shortest_trainings_have_a_rate(scheduler: str, n: int) -> None:
    config = TrainConfig(lr=0.1, scheduler=scheduler, warmup_fraction=0.5)
    assert all(0 < learning_rate(step, n, config) <= 0.1 + 1e-12 for step in range(n))
