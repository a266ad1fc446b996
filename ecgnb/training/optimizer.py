"""AdamW with weight decay where it belongs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ecgnb.training.config import TrainConfig
from ecgnb.training.freezing import parameter_groups


def make_optimizer(
    model: nn.Module, config: TrainConfig, *, fused: bool = True
) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter 2019) over the trainable parameters of
    ``model``.

    Weights of linear and convolution layers decay; parameters with fewer than two
    dimensions, that is biases and the gains of norms, do not: decay would pull a norm's
    gain to 0 instead of keeping a function simple.

    Each parameter group holds its ``lr_scale``, which `set_learning_rate` multiplies
    by. Group g of the model's n groups of layers has ``layer_decay ** (n - 1 - g)``, so
    the head has 1 (Clark et al. 2020, ELECTRA, whose published code gives every layer
    one power more, by mistake as its author says; Bao et al. 2021, BEiT).

    Args:
        model: the model, on its device already, with what is frozen frozen.
        config: ``lr``, ``weight_decay`` and ``layer_decay`` are used.
        fused: one kernel for all parameters; the gradient scaler of float16 does not go
            together with clipping then.

    Raises:
        ConfigError: ``layer_decay`` for a model that does not tell its layers apart.
    """
    groups: list[dict[str, Any]] = [
        {
            "params": chosen,
            "weight_decay": decay,
            "lr": config.lr * scale,
            "lr_scale": scale,
        }
        for scale, layer in _scaled_layers(model, config.layer_decay)
        for decays, decay in ((True, config.weight_decay), (False, 0.0))
        if (
            chosen := [
                parameter for parameter in layer if (parameter.ndim >= 2) is decays
            ]
        )
    ]
    fused = fused and all(
        p.device.type in ("cpu", "cuda") for group in groups for p in group["params"]
    )
    return torch.optim.AdamW(groups, lr=config.lr, fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of the next step; each parameter group takes its share of
    it.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get(
            "lr_scale", 1.0
        )  # checkpoints from before layer_decay have no scale


def _scaled_layers(
    model: nn.Module, layer_decay: float
) -> list[tuple[float, list[nn.Parameter]]]:
    """Return the parameters that are trained, with the scale of their learning rate,
    from the signal to the head.
    """
    # Without decay there is one group in the model's own order: the optimizer's state
    # goes by it.
    layers = (
        [list(model.parameters())]
        if layer_decay == 1
        else parameter_groups(model, f"layer_decay={layer_decay}")
    )
    return [
        (
            layer_decay ** (len(layers) - 1 - index),
            [parameter for parameter in layer if parameter.requires_grad],
        )
        for index, layer in enumerate(layers)
    ]


#: ``"step"`` multiplies by this factor at each of these parts of the training (He et
#: al. 2016, CIFAR schedule).
STEP_FACTOR = 0.1
STEP_AT = (0.5, 0.75)
#: ``"one-cycle"``: part of the training with a rising rate, and how far below the peak
#: it starts and ends (Smith and Topin 2018, with the values that PyTorch took over from
#: fastai).
RISE = 0.3
START_DIVISOR = 25.0
END_DIVISOR = 1e4


def learning_rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """Return the learning rate of optimizer step ``step`` out of ``total_steps``, the
    first being 0.

    During the first ``warmup_fraction`` of the steps the rate rises linearly up to
    ``config.lr``; then it follows ``config.scheduler``. The one-cycle policy is a rise
    and a fall in itself and has no other warm-up.

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
        return config.lr * STEP_FACTOR ** sum(progress >= part for part in STEP_AT)
    return config.lr


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _one_cycle(step: int, total_steps: int) -> float:
    peak, last = RISE * total_steps - 1, total_steps - 1
    low, end = 1 / START_DIVISOR, 1 / START_DIVISOR / END_DIVISOR
    if step <= peak:
        return _cosine(low, 1.0, step / peak)
    return _cosine(1.0, end, (step - peak) / (last - peak))
