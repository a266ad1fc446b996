"""Common parts of all explanation methods: the registry and the prepared model.

A method explains one logit of each record: ``method(model, inputs, target)`` returns
numbers of the inputs' shape. It runs the model in evaluation mode, with gradients on
whatever the caller's settings are, and leaves its modes and its parameters' ``.grad``
unchanged. Records do not influence each other: one alone gives the same as in a batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from ecgnb.core.errors import ConfigError
from ecgnb.core.registry import Registry

Tensors: TypeAlias = tuple[Tensor, ...]
#: One input ``[B, ...]``, or several of the same batch.
Inputs: TypeAlias = Tensor | Tensors
#: The class to explain: one for all records, one per record (int64 ``[B]``), or
#: ``None`` for the predicted one.
Target: TypeAlias = int | Tensor | None

#: Methods ``(model, inputs, target, **options) -> attribution``.
EXPLAINERS: Registry[Callable[..., Inputs]] = Registry("explainer")


@dataclass(frozen=True)
class Case:
    """A model in evaluation mode, its inputs and the logit of each record to explain.

    Attributes:
        model: gives logits ``[B, K]``.
        inputs: detached copies of the caller's inputs.
        logits: ``[B, K]``, the model's output for them.
        target: int64 ``[B]``, the class to explain.
        several: whether the caller passed a tuple of inputs, and gets one back.
    """

    model: nn.Module
    inputs: Tensors
    logits: Tensor
    target: Tensor
    several: bool

    def gradients(self, *inputs: Tensor) -> Tensors:
        """Return the gradient of the target's logit for each input; zeros where it does
        not depend on it.

        The inputs are the batch, or n versions of it one after the other ``[n * B,
        ...]``.
        """
        leaves = [x.detach().requires_grad_() for x in inputs]
        logits = self.model(*leaves)
        n_versions = len(logits) // len(self.target)
        targets = self.target.repeat(n_versions)
        # records do not influence each other
        total = logits.gather(1, targets[:, None]).sum()
        if not total.requires_grad:
            return tuple(map(torch.zeros_like, inputs))
        return torch.autograd.grad(
            total, leaves, allow_unused=True, materialize_grads=True
        )

    def pack(self, parts: Tensors) -> Inputs:
        """Return one tensor, or a tuple if the caller passed a tuple of inputs."""
        detached = tuple(part.detach() for part in parts)
        return detached if self.several else detached[0]


@contextlib.contextmanager
def prepared(model: nn.Module, inputs: Inputs, target: Target) -> Iterator[Case]:
    """Put a model into evaluation mode with gradients enabled, and restore it.

    Args:
        model: gives logits ``[B, K]``; when it has another module as its attribute
            ``logits`` (a ported Keras model without its softmax), that one is used.
        inputs: floating point, finite.
        target: see `Target`.

    Raises:
        ConfigError: the inputs are not finite tensors of one batch, the model returns
            something else than logits ``[B, K]``, or the target is not one of the K
            classes.
    """
    model = logits_of(model)
    several = isinstance(inputs, tuple)
    parts = inputs if isinstance(inputs, tuple) else (inputs,)  # one tensor per input
    _check_inputs(parts)
    modes = {module: module.training for module in model.modules()}
    # cuDNN has no backward pass of recurrent layers in evaluation mode.
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    cudnn: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if recurrent:
        cudnn = torch.backends.cudnn.flags(enabled=False)
    try:
        model.eval()
        with torch.inference_mode(False), torch.enable_grad(), cudnn:
            # a model may write into them
            copies = tuple(part.detach().clone() for part in parts)
            with torch.no_grad():
                logits = model(*copies)
            _check_logits(logits, len(parts[0]))
            classes = _target_classes(target, logits)
            yield Case(model, copies, logits, classes, several)
    finally:
        for module, training in modes.items():
            module.training = training


def logits_of(model: Any) -> nn.Module:
    """Return the model's attribute ``logits`` if that is a model, not a layer of it;
    else the model.
    """
    logits = getattr(model, "logits", None)
    is_module = isinstance(model, nn.Module)
    if isinstance(logits, nn.Module):
        # A child named "logits" is the model's last layer.
        is_layer = is_module and logits in model.children()
        if isinstance(logits, fx.GraphModule) or not is_layer:
            return logits
    if is_module:
        return model
    raise ConfigError(
        f"A model to explain must be a torch.nn.Module, not {type(model).__name__}."
    )


def _check_inputs(parts: tuple[Any, ...]) -> None:
    for number, part in enumerate(parts):
        if not isinstance(part, Tensor):
            raise ConfigError(
                f"Input {number} is {type(part).__name__}; give a torch.Tensor, or a "
                "tuple of them for several inputs."
            )
        if not part.is_floating_point() or part.ndim < 2 or not len(part):
            raise ConfigError(
                f"Input {number} is {part.dtype} {list(part.shape)}; give floating "
                "point [B, ...]."
            )
        if not torch.isfinite(part).all():
            raise ConfigError(
                f"Input {number} holds NaN or infinity; fill the gaps as they were "
                "filled for training."
            )
        if len(part) != len(parts[0]):
            raise ConfigError(
                f"Input {number} has {len(part)} records, input 0 has {len(parts[0])}."
            )


def _check_logits(logits: Any, n_records: int) -> None:
    if not isinstance(logits, Tensor):
        raise ConfigError(
            f"The model returns {type(logits).__name__}; an explanation needs one "
            "tensor of logits. Explain a module whose forward returns the output you "
            "mean, such as a wrapper that returns model(x)[0]."
        )
    if logits.ndim != 2 or len(logits) != n_records:
        raise ConfigError(
            f"The model returns shape {list(logits.shape)} for {n_records} records; an "
            f"explanation needs logits [{n_records}, K]. Explain a wrapper that picks "
            "or pools the scores you mean."
        )


def _target_classes(target: Target, logits: Tensor) -> Tensor:
    n_records, n_classes = logits.shape
    if target is None:
        return logits.argmax(dim=1)  # the predicted class
    classes = torch.as_tensor(target, device=logits.device)
    if classes.dtype != torch.int64 or classes.shape not in ((), (n_records,)):
        raise ConfigError(
            f"target is {target!r}; give a class number, or an int64 tensor [B] = "
            f"[{n_records}]."
        )
    if not ((classes >= 0) & (classes < n_classes)).all():
        raise ConfigError(
            f"target is {target!r}; the model has the classes 0 to {n_classes - 1}."
        )
    return classes.expand(n_records)  # [B]
