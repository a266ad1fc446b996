"""What every explanation method has in common: the question that is asked of a model,
and the registry.

A method explains one logit of each record: ``method(model, inputs, target)`` returns
numbers of the inputs' shape. It runs the model in evaluation mode, with gradients on
whatever the caller's settings are, and leaves its modes and its parameters' ``.grad``
as they were. Records do not influence each other: one alone gives what it gives in a
batch.
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

#: One input ``[B, ...]``, or several of the same batch.
Inputs: TypeAlias = Tensor | tuple[Tensor, ...]
#: The class to explain: one for all records, one for each (int64 ``[B]``), or ``None``
#: for the predicted one.
Target: TypeAlias = int | Tensor | None

#: Methods ``(model, inputs, target, **options) -> attribution``.
EXPLAINERS: Registry[Callable[..., Inputs]] = Registry("explainer")


@dataclass(frozen=True)
class Case:
    """A question to a model: why has each record this logit?

    Attributes:
        model: gives logits ``[B, K]``; in evaluation mode.
        inputs: detached copies of what the model is given.
        logits: ``[B, K]``, what it makes of them.
        target: int64 ``[B]``, the logit in question.
        several: whether the caller gave a tuple of inputs, and gets one back.
    """

    model: nn.Module
    inputs: tuple[Tensor, ...]
    logits: Tensor
    target: Tensor
    several: bool

    def scores(self, *inputs: Tensor) -> Tensor:
        """Return the logit in question, ``[n * B]``, of n versions of the batch one
        after the other.
        """
        logits = self.model(*inputs)
        return logits.gather(
            1, self.target.repeat(len(logits) // len(self.target))[:, None]
        )[:, 0]

    def gradients(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the gradient of the logit in question for each input; zeros where it
        does not depend on it.
        """
        leaves = [part.detach().requires_grad_() for part in inputs]
        total = self.scores(*leaves).sum()
        if not total.requires_grad:
            return tuple(torch.zeros_like(part) for part in inputs)
        found = torch.autograd.grad(total, leaves, allow_unused=True)
        return tuple(
            torch.zeros_like(x) if slope is None else slope
            for x, slope in zip(leaves, found, strict=True)
        )

    def pack(self, parts: tuple[Tensor, ...]) -> Inputs:
        """Return what the caller expects: one tensor, or a tuple for a tuple of
        inputs.
        """
        return (
            tuple(part.detach() for part in parts)
            if self.several
            else parts[0].detach()
        )


@contextlib.contextmanager
def asked(model: nn.Module, inputs: Inputs, target: Target) -> Iterator[Case]:
    """Make a model ready for questions, and leave it as it was.

    Args:
        model: gives logits ``[B, K]``; when it has another module as its attribute
            ``logits`` (a ported Keras model without its softmax), that one is asked.
        inputs: floating point, finite.
        target: see `Target`.

    Raises:
        ConfigError: the inputs are not finite tensors of one batch, the model returns
            something else than logits ``[B, K]``, or the target is not one of the K
            classes.
    """
    model = logits_of(model)
    parts = _checked_inputs(inputs)
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            _differentiable_recurrence(model),
        ):
            parts = tuple(part.detach().clone() for part in parts)
            with torch.no_grad():
                logits = _checked_logits(model(*parts), len(parts[0]))
            yield Case(
                model,
                parts,
                logits,
                _checked_target(target, logits),
                isinstance(inputs, tuple),
            )
    finally:
        for module, training in modes.items():
            module.training = training


def logits_of(model: Any) -> nn.Module:
    """Return the model's attribute ``logits`` where it is a model of its own, else the
    model.
    """
    within = getattr(model, "logits", None)
    a_layer = isinstance(model, nn.Module) and any(
        within is child for child in model.children()
    )
    if isinstance(within, fx.GraphModule) or (
        isinstance(within, nn.Module) and not a_layer
    ):
        return within
    if isinstance(model, nn.Module):
        return model
    raise ConfigError(
        f"A model to explain must be a torch.nn.Module; it was given {type(model).__name__}."
    )


def _checked_inputs(inputs: Any) -> tuple[Tensor, ...]:
    parts = inputs if isinstance(inputs, tuple) else (inputs,)
    for place, part in enumerate(parts):
        if not isinstance(part, Tensor):
            raise ConfigError(
                f"Input {place} is {type(part).__name__}; give a torch.Tensor, or a tuple of them for several inputs."
            )
        if not part.is_floating_point() or part.ndim < 2 or not len(part):
            raise ConfigError(
                f"Input {place} is {part.dtype} {list(part.shape)}; give floating point [B, ...]."
            )
        if not torch.isfinite(part).all():
            raise ConfigError(
                f"Input {place} holds NaN or infinity; fill the gaps as they were filled for training."
            )
        if len(part) != len(parts[0]):
            raise ConfigError(
                f"Input {place} has {len(part)} records, input 0 has {len(parts[0])}."
            )
    return parts


def _checked_logits(logits: Any, n_records: int) -> Tensor:
    if not isinstance(logits, Tensor):
        raise ConfigError(
            f"The model returns {type(logits).__name__}; an explanation needs one tensor of logits. Explain a module "
            "whose forward returns the output you mean, such as a wrapper that returns model(x)[0]."
        )
    if logits.ndim != 2 or len(logits) != n_records:
        raise ConfigError(
            f"The model returns shape {list(logits.shape)} for {n_records} records; an explanation needs logits "
            f"[{n_records}, K]. Explain a wrapper that picks or pools the scores you mean."
        )
    return logits


def _checked_target(target: Target, logits: Tensor) -> Tensor:
    n_records, n_classes = logits.shape
    if target is None:
        return logits.argmax(dim=1)
    wanted = torch.as_tensor(target, device=logits.device)
    if wanted.dtype != torch.int64 or wanted.shape not in ((), (n_records,)):
        raise ConfigError(
            f"target is {target!r}; give a class number, or an int64 tensor [B] = [{n_records}]."
        )
    if not ((wanted >= 0) & (wanted < n_classes)).all():
        raise ConfigError(
            f"target is {target!r}; the model has the classes 0 to {n_classes - 1}."
        )
    return wanted.expand(n_records)


def _differentiable_recurrence(
    model: nn.Module,
) -> contextlib.AbstractContextManager[Any]:
    """Keep cuDNN away from recurrent layers: it has no backward pass in evaluation
    mode.
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    return (
        torch.backends.cudnn.flags(enabled=False)
        if recurrent
        else contextlib.nullcontext()
    )
