"""Attention saliency: which stretches of time a transformer looks at."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ecgnb.errors import ConfigError
from ecgnb.models.base import Backbone


@torch.no_grad()
def attention_saliency(model: Backbone, x: Tensor, layer: int = -1) -> Tensor:
    """Return how much a transformer attends at each moment, as the tutorial of ECG-FM draws it.

    The weights of a layer, averaged over heads, are reduced by their maximum over keys, scaled to [0, 1] in each record
    and stretched linearly to the signal. It tells where the model looks, not what speaks for a class: attention is the
    same for all classes, and what is looked at need not matter (Jain and Wallace 2019).

    Args:
        model: with a method ``attention``, such as `EcgFM`.
        x: signals ``[B, n_leads, T]``.
        layer: which one; the last by default.

    Returns:
        ``[B, T]``, from 0 to 1.

    Raises:
        ConfigError: the model has no attention, or no such layer.
    """
    attention = getattr(model, "attention", None)
    if attention is None:
        raise ConfigError(f"{type(model).__name__} has no attention. Choose another method, such as 'grad_cam'.")
    weights = attention(x)
    depth = weights.shape[1]
    if not -depth <= layer < depth:
        raise ConfigError(f"layer={layer}: the model has the layers 0 to {depth - 1}, or -{depth} to -1.")
    steps = weights[:, layer].amax(dim=2)
    low, high = steps.amin(1, keepdim=True), steps.amax(1, keepdim=True)
    scaled = (steps - low) / (high - low).clamp(min=torch.finfo(steps.dtype).tiny)
    return F.interpolate(scaled[:, None], size=x.shape[2], mode="linear")[:, 0]
