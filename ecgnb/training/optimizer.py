"""AdamW with weight decay where it belongs."""

from __future__ import annotations

import torch
from torch import nn

from ecgnb.training.config import TrainConfig


def make_optimizer(model: nn.Module, config: TrainConfig, *, fused: bool = True) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter 2019) over the trainable parameters of ``model``.

    Weights of linear and convolution layers decay; parameters with fewer than two dimensions, that is biases and the
    gains of norms, do not: decay would pull a norm's gain to 0 instead of keeping a function simple.

    Args:
        model: the model, on its device already.
        config: ``lr`` and ``weight_decay`` are used.
        fused: one kernel for all parameters; the gradient scaler of float16 does not go together with clipping then.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = fused and all(parameter.device.type in ("cpu", "cuda") for parameter in trained)
    return torch.optim.AdamW(groups, lr=config.lr, fused=fused)
