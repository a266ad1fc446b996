"""AdamW with weight decay for weights only, and the schedule of the learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ecgnb.training.config import TrainConfig
from ecgnb.training.freezing import parameter_groups


def make_optimizer(
    model: nn.Module,
    config: TrainConfig,
    *,
    objective: nn.Module | None = None,
    fused: bool = True,
) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter 2019) over the trainable parameters of
    ``model`` and ``objective``.

    Weights of linear and convolution layers decay; parameters with fewer than two
    dimensions, that is biases and the gains of norms, do not: decay would pull a norm's
    gain to 0 instead of keeping a function simple.

    Each parameter group holds its ``lr_scale``, which `set_learning_rate` multiplies
    by. Group g of the model's n groups of layers has ``layer_decay ** (n - 1 - g)``, so
    the head has 1 (Clark et al. 2020, ELECTRA, whose published code gives every layer
    one power more, by mistake as its author says; Bao et al. 2021, BEiT). Parameters of
    the objective have 1.

    Args:
        model: the model, on its device already, with what is frozen frozen.
        config: ``lr``, ``weight_decay`` and ``layer_decay`` are used.
        objective: its parameters are trained as well.
        fused: one kernel for all parameters; gradient clipping with the gradient scaler
            of float16 does not work with it.

    Raises:
        ConfigError: ``layer_decay`` for a model without ``layer_groups()``.
    """
    if config.layer_decay == 1:
        # One group in the model's own order, which the optimizer's state follows.
        layers = [list(model.parameters())]
    else:
        layers = parameter_groups(model, f"layer_decay={config.layer_decay}")
    groups: list[dict[str, Any]] = []
    for depth, layer in enumerate(reversed(layers)):  # depth 0 is the head
        groups = _decay_groups(layer, config, config.layer_decay**depth) + groups
    if objective is not None:
        groups += _decay_groups(list(objective.parameters()), config, 1.0)
    kinds = {parameter.device.type for parameter in model.parameters()}
    fused = fused and kinds <= {"cpu", "cuda"}
    return torch.optim.AdamW(groups, lr=config.lr, fused=fused)


def _decay_groups(
    parameters: list[nn.Parameter], config: TrainConfig, scale: float
) -> list[dict[str, Any]]:
    """Return one group of parameters with weight decay and one without."""
    trained = [p for p in parameters if p.requires_grad]
    weights = [p for p in trained if p.ndim >= 2]
    others = [p for p in trained if p.ndim < 2]
    rates = {"lr": config.lr * scale, "lr_scale": scale}
    groups = [
        {"params": weights, "weight_decay": config.weight_decay, **rates},
        {"params": others, "weight_decay": 0.0, **rates},
    ]
    return [group for group in groups if group["params"]]


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of the next step, scaled for each parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


#: ``"step"`` multiplies by this factor at these fractions of the training (He et al.
#: 2016, CIFAR schedule).
STEP_FACTOR = 0.1
STEP_AT = (0.5, 0.75)
#: ``"one-cycle"``: fraction of the training with a rising rate, and the divisors of the
#: peak at its start and end (Smith and Topin 2018, with the defaults of PyTorch and
#: fastai).
RISE = 0.3
START_DIVISOR = 25.0
END_DIVISOR = 1e4


def learning_rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """Return the learning rate of optimizer step ``step`` out of ``total_steps``, the
    first being 0.

    During the first ``warmup_fraction`` of the steps the rate rises linearly up to
    ``config.lr``; then it follows ``config.scheduler``. The one-cycle policy rises and
    falls by itself and has no other warm-up.

    >>> learning_rate(0, 100, TrainConfig(lr=1.0, warmup_fraction=0.1))
    0.1
    """
    if config.scheduler == "one-cycle":
        return config.lr * _one_cycle(step, total_steps)
    warmup = round(config.warmup_fraction * total_steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    if config.scheduler == "cosine":
        return config.lr * _cosine(1.0, 0.0, progress)
    if config.scheduler == "step":
        drops = sum(progress >= fraction for fraction in STEP_AT)
        return config.lr * STEP_FACTOR**drops
    return config.lr


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _one_cycle(step: int, total_steps: int) -> float:
    peak = RISE * total_steps - 1
    low = 1 / START_DIVISOR
    if step <= peak:
        return _cosine(low, 1.0, step / peak)
    progress = (step - peak) / (total_steps - 1 - peak)
    return _cosine(1.0, low / END_DIVISOR, progress)
