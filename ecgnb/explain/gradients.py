"""Explanations by one pass: gradient, gradient times input or SIGN, guided backprop,
attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.explain.base import EXPLAINERS, Inputs, Target, Tensors, prepared
from ecgnb.explain.kinds import ACTIVATIONS
from ecgnb.models.base import Backbone


def sign(x: Tensor, mu: float = 0.0) -> Tensor:
    """Return +1 where ``x >= mu``, else -1: unlike ``torch.sign``, 0 counts as +1
    (Gumpfer et al. 2023).
    """
    return (x >= mu).to(x.dtype) * 2 - 1  # True is 1


@EXPLAINERS.register("gradient")
def gradient(model: nn.Module, inputs: Inputs, target: Target = None) -> Inputs:
    """Return the gradient of the target's logit (Simonyan et al. 2013, "Deep inside
    convolutional networks").

    Args:
        model: gives logits ``[B, K]``.
        inputs: a tensor ``[B, ...]`` or a tuple of tensors.
        target: see `ecgnb.explain.base.Target`.

    Returns:
        Attributions of the inputs' shapes, in logits per unit of the input.

    Raises:
        ConfigError: see `ecgnb.explain.base.prepared`.
    """
    with prepared(model, inputs, target) as case:
        return case.pack(case.gradients(*case.inputs))


@EXPLAINERS.register("gradient_x_input")
def gradient_x_input(model: nn.Module, inputs: Inputs, target: Target = None) -> Inputs:
    """Return gradient times input, in logits; arguments and errors as `gradient`."""
    with prepared(model, inputs, target) as case:
        gradients = case.gradients(*case.inputs)
        return case.pack(tuple(map(torch.mul, gradients, case.inputs)))


@EXPLAINERS.register("gradient_x_sign")
def gradient_x_sign(
    model: nn.Module, inputs: Inputs, target: Target = None, *, mu: float = 0.0
) -> Inputs:
    """Return the gradient times the input's `sign`; small deflections then count as
    much as large ones.

    Gumpfer et al. 2023, "SIGNed explanations: Unveiling relevant features by reducing
    bias", Information Fusion 99.

    Args:
        model: as for `gradient`.
        inputs: as for `gradient`.
        target: as for `gradient`.
        mu: the smallest positive input, in the input's unit.

    Raises:
        ConfigError: see `ecgnb.explain.base.prepared`.
    """
    with prepared(model, inputs, target) as case:
        gradients = case.gradients(*case.inputs)
        signs = [sign(x, mu) for x in case.inputs]
        return case.pack(tuple(map(torch.mul, gradients, signs)))


@EXPLAINERS.register("guided_backprop")
def guided_backprop(model: nn.Module, inputs: Inputs, target: Target = None) -> Inputs:
    """Return the gradient with negative values set to 0 behind every activation.

    Springenberg et al. 2014, "Striving for simplicity: the all convolutional net", for
    ReLU; other activation modules (ELU, GELU, ...) are treated alike. Activations that
    are called as functions keep their gradient.

    Raises:
        ConfigError: the model has no activation modules; else see
            `ecgnb.explain.base.prepared`.
    """
    with prepared(model, inputs, target) as case, _guided(case.model):
        return case.pack(case.gradients(*case.inputs))


@contextmanager
def _guided(model: nn.Module) -> Iterator[None]:
    """Clip gradients at 0 in every activation module while the context lasts."""
    activations = [x for x in model.modules() if isinstance(x, ACTIVATIONS)]
    if not activations:
        raise ConfigError(
            f"{type(model).__name__} has no activation modules to guide the gradient "
            "at: write nn.ReLU() instead of F.relu, or choose another method."
        )
    with ExitStack() as restored:
        for module in activations:
            # removed at the exit
            hook = module.register_full_backward_hook(_clip_gradients)
            restored.enter_context(hook)
            if getattr(module, "inplace", False):
                # A full backward hook does not work on tensors that are overwritten.
                module.inplace = False  # type: ignore[assignment]
                restored.callback(setattr, module, "inplace", True)
        yield


def _clip_gradients(module: nn.Module, grad_input: Any, grad_output: Any) -> Tensors:
    return tuple(gradient.clamp(min=0) for gradient in grad_input)


@torch.no_grad()
def attention_saliency(model: Backbone, x: Tensor, layer: int = -1) -> Tensor:
    """Return a transformer's attention at each sample, as in the tutorial of ECG-FM.

    The weights of a layer, averaged over heads, are reduced by their maximum over keys,
    scaled to [0, 1] in each record and interpolated linearly to the signal's length.
    Attention is no evidence for a class: it is the same for all classes, and attended
    samples need not matter (Jain and Wallace 2019).

    Args:
        model: with a method ``attention``, such as `EcgFM`.
        x: signals ``[B, n_leads, T]``.
        layer: its number; the last by default.

    Returns:
        ``[B, T]``, from 0 to 1.

    Raises:
        ConfigError: the model has no attention, or no such layer.
    """
    attention = getattr(model, "attention", None)
    if attention is None:
        raise ConfigError(
            f"{type(model).__name__} has no attention. Choose another method, such as "
            "'grad_cam'."
        )
    weights = attention(x)  # [B, depth, T' (queries), T' (keys)]
    depth = weights.shape[1]
    if not -depth <= layer < depth:
        raise ConfigError(
            f"layer={layer}: the model has the layers 0 to {depth - 1}, or -{depth} to "
            "-1."
        )
    attended = weights[:, layer].amax(dim=2)  # [B, T'], maximum over keys
    low = attended.amin(1, keepdim=True)
    span = attended.amax(1, keepdim=True) - low
    tiny = torch.finfo(attended.dtype).tiny  # no 0 / 0 for constant attention
    scaled = (attended - low) / span.clamp(min=tiny)
    n_samples = x.shape[2]
    saliency = F.interpolate(scaled[:, None], size=n_samples, mode="linear")
    return saliency[:, 0]  # [B, T]
