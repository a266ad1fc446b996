"""Fine-tuning: which parameters keep their values, and what else must stand still with
them.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

from torch import nn

from ecgnb.core.errors import ConfigError


def parameter_groups(model: nn.Module, asked_by: str) -> list[list[nn.Parameter]]:
    """Return the parameters of ``model`` in groups from the signal to the head, which
    is the last group.

    Args:
        model: with ``layer_groups()``, as every `ecgnb.models.base.Backbone` has.
        asked_by: the option that needs groups, such as ``"freeze='stem'"``, for the
            message.

    Raises:
        ConfigError: the model tells no groups, or groups that do not hold each
            parameter once.
    """
    kind = type(model).__name__
    if not hasattr(model, "layer_groups"):
        raise ConfigError(
            f"{asked_by} needs a model that tells its layers apart with layer_groups(), and {kind} does not. "
            "Leave the option out, or derive the model from ecgnb.models.base.Backbone."
        )
    own, groups = dict(model.named_parameters()), model.layer_groups()  # type: ignore[operator]
    named = list(chain(*groups))
    if Counter(named) != Counter(own.keys()):
        strange = sorted(own.keys() ^ set(named)) or ["names that come twice"]
        raise ConfigError(
            f"{kind}.layer_groups() must name each parameter once; it differs in {', '.join(strange[:3])}. Correct it."
        )
    return [[own[name] for name in group] for group in groups]


def freeze(model: nn.Module, what: str) -> None:
    """Let a part of ``model`` learn nothing; call it before the optimizer and the
    processes are set up.

    Args:
        model: as for `parameter_groups`; anything where ``what`` is "".
        what: ``"stem"`` is the first group, ``"body"`` all but the last, the head.

    Raises:
        ConfigError: the model tells no stem apart from its body, or nothing would be
            left to learn.
    """
    if not what:
        return
    groups = parameter_groups(model, f"freeze={what!r}")
    kind = type(model).__name__
    if what == "stem" and len(groups) < 3:
        raise ConfigError(
            f"freeze='stem': {kind} tells no stem apart from its body. Take freeze='body', or ''."
        )
    frozen = set(chain(*(groups[:1] if what == "stem" else groups[:-1])))
    if not any(
        parameter.requires_grad
        for parameter in model.parameters()
        if parameter not in frozen
    ):
        raise ConfigError(
            f"freeze={what!r} leaves nothing of {kind} to train. Build it with a classifier."
        )
    for parameter in frozen:
        parameter.requires_grad_(False)


def keep_still(model: nn.Module, what: str) -> None:
    """Put the frozen part of a model in training mode back to evaluation mode: no
    dropout, no running statistics.

    A module is frozen when all its parameters are. Modules without any, such as a
    dropout between two layers, are frozen with the module around them; of a frozen body
    that is everything but the head.

    Args:
        model: after `freeze`, in training mode.
        what: as for `freeze`.
    """
    if what == "body":
        for name, child in model.named_children():
            child.train(name == "head")
    elif what:
        for module in model.modules():
            own = list(module.parameters())
            if own and not any(parameter.requires_grad for parameter in own):
                module.eval()
