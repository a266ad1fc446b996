"""Fine-tuning: groups of layers, and freezing of some of them."""

from __future__ import annotations

from itertools import chain

from torch import nn

from ecgnb.core.errors import ConfigError, first_few


def parameter_groups(model: nn.Module, option: str) -> list[list[nn.Parameter]]:
    """Return the parameters of ``model`` in groups from the signal to the head, which
    is the last group.

    Args:
        model: with ``layer_groups()``, as every `ecgnb.models.base.Backbone` has.
        option: the option that needs groups, such as ``"freeze='stem'"``, for the
            message.

    Raises:
        ConfigError: the model has no ``layer_groups()``, or its groups do not contain
            each parameter once.
    """
    kind = type(model).__name__
    if not hasattr(model, "layer_groups"):
        raise ConfigError(
            f"{option} needs a model with layer_groups(), and {kind} has none. Leave "
            "the option out, or derive the model from ecgnb.models.base.Backbone."
        )
    parameters = dict(model.named_parameters())
    groups = model.layer_groups()  # type: ignore[operator]
    names = list(chain(*groups))
    if sorted(names) != sorted(parameters):
        wrong = sorted(parameters.keys() ^ set(names)) or ["names that come twice"]
        raise ConfigError(
            f"{kind}.layer_groups() must name each parameter once; it differs in "
            f"{first_few(wrong, 3)}. Correct it."
        )
    return [[parameters[name] for name in group] for group in groups]


def freeze(model: nn.Module, part: str) -> None:
    """Exclude a part of ``model`` from training; call it before the optimizer and the
    processes are set up.

    Args:
        model: as for `parameter_groups`; any model where ``part`` is "".
        part: ``"stem"`` is the first group, ``"body"`` all but the last, the head.

    Raises:
        ConfigError: the model has no stem apart from its body, or no trainable
            parameter would be left.
    """
    if not part:
        return
    groups = parameter_groups(model, f"freeze={part!r}")
    kind = type(model).__name__
    if part == "stem" and len(groups) < 3:
        raise ConfigError(
            f"freeze='stem': {kind} has no stem apart from its body. "
            "Use freeze='body', or ''."
        )
    n_frozen = 1 if part == "stem" else len(groups) - 1
    frozen = chain(*groups[:n_frozen])
    others = chain(*groups[n_frozen:])
    if not any(parameter.requires_grad for parameter in others):
        raise ConfigError(
            f"freeze={part!r} leaves nothing of {kind} to train. "
            "Build it with a classifier."
        )
    for parameter in frozen:
        parameter.requires_grad_(False)


def set_frozen_to_eval(model: nn.Module, part: str) -> None:
    """Set the frozen part of a model in training mode to evaluation mode: no dropout,
    no update of running statistics.

    A module is frozen when all its parameters are. Modules without any, such as a
    dropout between two layers, are frozen with the module around them; of a frozen body
    that is everything but the head.

    Args:
        model: after `freeze`, in training mode.
        part: as for `freeze`.
    """
    if part == "body":
        for name, child in model.named_children():
            child.train(name == "head")
    elif part:
        for module in model.modules():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                module.eval()
