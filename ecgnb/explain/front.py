"""`explain`: every method by name, with a warning where its answer would mislead."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
from torch import Tensor, fx, nn

from ecgnb.core.errors import ConfigError
from ecgnb.core.registry import did_you_mean
from ecgnb.explain.base import EXPLAINERS, Case, Inputs, Target, asked

_PROBABILITIES = (
    nn.Softmax,
    nn.Sigmoid,
    torch.softmax,
    torch.sigmoid,
    nn.functional.softmax,
    "softmax",
    "sigmoid",
)


def explain(
    model: nn.Module,
    inputs: Inputs,
    method: str = "lrp_epsilon_std",
    target: Target = None,
    **options: Any,
) -> Inputs:
    """Explain a classifier's logits by a method of `EXPLAINERS`.

    Args:
        model: gives logits ``[B, K]``; of a ported Keras model its ``logits`` are
            explained.
        inputs: a tensor ``[B, ...]``, or a tuple of tensors for a model with several
            inputs.
        method: one of ``EXPLAINERS.available()``.
        target: class number, one for all records or int64 ``[B]``; ``None`` for each
            record's highest logit.
        **options: of the method.

    Returns:
        Attributions of the inputs' shapes (``grad_cam``: ``[B, T]``).

    Raises:
        ConfigError: the method or an option is unknown, or the method refuses the model
            or the inputs.

    Warns:
        UserWarning: the gradient of a record is zero everywhere, or the model gives
            probabilities.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    >>> explain(model, torch.ones(4, 2, 3), "gradient_x_input", target=1).shape
    torch.Size([4, 2, 3])
    """
    explainer = EXPLAINERS.get(method)
    _check_options(method, options)
    with asked(model, inputs, target) as case:
        _warn_of_probabilities(case)
        _warn_of_zeros(case)
    return explainer(case.model, inputs, case.target, **options)


def _check_options(method: str, options: dict[str, Any]) -> None:
    parameters = inspect.signature(EXPLAINERS.get(method)).parameters.values()
    known = [
        parameter.name
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(
                f"The method {method!r} has no option {name!r}.{hint} Its options: {', '.join(known) or 'none'}."
            )


def _warn_of_probabilities(case: Case) -> None:
    within = bool(((case.logits >= 0) & (case.logits <= 1)).all())
    ones = torch.ones_like(case.logits[:, 0])
    shares = case.logits.shape[1] > 1 and torch.allclose(
        case.logits.sum(1), ones, atol=1e-4
    )
    if within and (shares or _last_step(case.model) in _PROBABILITIES):
        warnings.warn(
            f"{type(case.model).__name__} gives probabilities. They saturate, and then have no gradient; what raises "
            "one class lowers another. Explain the logits: the model without its last softmax or sigmoid.",
            stacklevel=3,
        )


def _last_step(model: nn.Module) -> Any:
    """Return what a model does last: the class of a module, or a function or method of
    its graph.
    """
    if not isinstance(model, fx.GraphModule):
        return type(
            [module for module in model.modules() if not list(module.children())][-1]
        )
    last = next(
        node for node in reversed(model.graph.nodes) if node.op == "output"
    ).all_input_nodes[0]
    return (
        type(model.get_submodule(str(last.target)))
        if last.op == "call_module"
        else last.target
    )


def _warn_of_zeros(case: Case) -> None:
    largest = torch.stack(
        [_largest(slope) for slope in case.gradients(*case.inputs)]
    ).amax(0)
    dead = int((largest == 0).sum())
    if dead:
        warnings.warn(
            f"The gradient of the logit is zero everywhere for {dead} of {len(largest)} records: small changes of the "
            "input change nothing, and gradients explain nothing. The model is saturated there, or its input is not "
            "of the kind (leads, unit, scaling) that it was trained on.",
            stacklevel=3,
        )


def _largest(slope: Tensor) -> Tensor:
    return slope.flatten(1).abs().amax(1)
