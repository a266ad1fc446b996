"""AdamW with weight decay where it belongs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ecgnb.training.config import TrainConfig
from ecgnb.training.freezing import parameter_groups


def make_optimizer(model: nn.Module, config: TrainConfig, *, fused: bool = True) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter 2019) over the trainable parameters of ``model``.

    Weights of linear and convolution layers decay; parameters with fewer than two dimensions, that is biases and the
    gains of norms, do not: decay would pull a norm's gain to 0 instead of keeping a function simple.

    Each parameter group holds its ``lr_scale``, which `set_learning_rate` multiplies by. Group g of the model's n
    groups of layers has ``layer_decay ** (n - 1 - g)``, so the head has 1 (Clark et al. 2020, ELECTRA, whose published
    code gives every layer one power more, by mistake as its author says; Bao et al. 2021, BEiT).

    Args:
        model: the model, on its device already, with what is frozen frozen.
        config: ``lr``, ``weight_decay`` and ``layer_decay`` are used.
        fused: one kernel for all parameters; the gradient scaler of float16 does not go together with clipping then.

    Raises:
        ConfigError: ``layer_decay`` for a model that does not tell its layers apart.
    """
    groups: list[dict[str, Any]] = [
        {"params": chosen, "weight_decay": decay, "lr": config.lr * scale, "lr_scale": scale}
        for scale, layer in _scaled_layers(model, config.layer_decay)
        for decays, decay in ((True, config.weight_decay), (False, 0.0))
        if (chosen := [parameter for parameter in layer if (parameter.ndim >= 2) is decays])
    ]
    fused = fused and all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, lr=config.lr, fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of the next step; each parameter group takes its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)  # checkpoints from before layer_decay have no scale


def _scaled_layers(model: nn.Module, layer_decay: float) -> list[tuple[float, list[nn.Parameter]]]:
    """Return the parameters that are trained, with the scale of their learning rate, from the signal to the head."""
    # Without decay there is one group in the model's own order: the optimizer's state goes by it.
    layers = [list(model.parameters())] if layer_decay == 1 else parameter_groups(model, f"layer_decay={layer_decay}")
    return [
        (layer_decay ** (len(layers) - 1 - index), [parameter for parameter in layer if parameter.requires_grad])
        for index, layer in enumerate(layers)
    ]
