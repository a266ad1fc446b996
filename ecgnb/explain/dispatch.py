"""Explain a model by the name of a method, with warnings where the answer misleads."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
from torch import fx, nn

from ecgnb.core.errors import ConfigError
from ecgnb.core.registry import did_you_mean
from ecgnb.explain.base import EXPLAINERS, Case, Inputs, Target, prepared
from ecgnb.explain.kinds import module_of

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
    parameters = inspect.signature(explainer).parameters.values()
    known = [option.name for option in parameters if option.kind is option.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise ConfigError(
                f"The method {method!r} has no option {name!r}."
                f"{did_you_mean(name, known)} Its options: "
                f"{', '.join(known) or 'none'}."
            )
    with prepared(model, inputs, target) as case:
        _warn_of_probabilities(case)
        _warn_of_zero_gradients(case)
    return explainer(case.model, inputs, case.target, **options)


def _warn_of_probabilities(case: Case) -> None:
    logits = case.logits
    if not ((logits >= 0) & (logits <= 1)).all():
        return
    sums = logits.sum(1)
    ones = torch.ones_like(sums)
    sum_to_one = logits.shape[1] > 1 and torch.allclose(sums, ones, atol=1e-4)
    if sum_to_one or _last_operation(case.model) in _PROBABILITIES:
        warnings.warn(
            f"{type(case.model).__name__} gives probabilities. They saturate, and then "
            "have no gradient; what raises one class lowers another. Explain the "
            "logits: the model without its last softmax or sigmoid.",
            stacklevel=3,
        )


def _last_operation(model: nn.Module) -> Any:
    """Return the class of a model's last module, or the last function or method of its
    graph.
    """
    if not isinstance(model, fx.GraphModule):
        leaves = [module for module in model.modules() if not list(module.children())]
        return type(leaves[-1])  # in the order of definition
    *_, output = model.graph.nodes  # it is always the last node
    last = output.all_input_nodes[0]
    module = module_of(last, model)
    return last.target if module is None else type(module)


def _warn_of_zero_gradients(case: Case) -> None:
    gradients = [gradient.flatten(1) for gradient in case.gradients(*case.inputs)]
    largest = torch.cat(gradients, dim=1).abs().amax(1)  # [B], over all inputs
    n_zero = int((largest == 0).sum())
    if n_zero:
        warnings.warn(
            f"The gradient of the logit is zero everywhere for {n_zero} of "
            f"{len(case.target)} records: small changes of the input change nothing, "
            "and gradients explain nothing. The model is saturated there, or its input "
            "is not of the kind (leads, unit, scaling) that it was trained on.",
            stacklevel=3,
        )
