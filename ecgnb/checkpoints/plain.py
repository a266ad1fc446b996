"""Values of a checkpoint for use: configurations without their classes, and a walk
through everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ecgnb.checkpoints.constructors import Inert, brief
from ecgnb.core.errors import CheckpointError

#: Deeper nesting is no configuration and no state dict.
_MOST_LEVELS = 64
_LONGEST_KEY = 200


def plain(value: Any) -> Any:
    """Return a value with the objects of omegaconf and argparse in it as the dicts,
    lists and values that they hold.

    Other `Inert` notes and tensors stay as they are. What is shared stays shared.

    Raises:
        CheckpointError: it is nested deeper than any configuration.

    >>> plain(Inert("argparse.Namespace", (), state={"lr": 0.1}))
    {'lr': 0.1}
    """
    return _plain(value, {}, 0)


def _plain(value: Any, made: dict[int, Any], level: int) -> Any:
    if level > _MOST_LEVELS:
        raise CheckpointError(
            f"A value of the checkpoint is nested deeper than {_MOST_LEVELS} levels."
        )
    if id(value) in made:
        return made[id(value)]
    new: Any = value
    if isinstance(value, Inert):
        if _held(value) is not value:
            new = _plain(_held(value), made, level + 1)
    elif isinstance(value, dict):
        new = made[id(value)] = {}  # before it is filled, as it may hold itself
        new.update({key: _plain(item, made, level + 1) for key, item in value.items()})
    elif isinstance(value, list):
        new = made[id(value)] = []
        new.extend(_plain(item, made, level + 1) for item in value)
    elif isinstance(value, tuple):
        new = tuple(_plain(item, made, level + 1) for item in value)
    made[id(value)] = new
    return new


def _held(value: Inert) -> Any:
    """Return what an object of omegaconf or argparse holds; any other as it is."""
    state = value.state
    if isinstance(state, dict) and value.name.startswith("omegaconf."):
        return state["_content"] if "_content" in state else state.get("_val", value)
    if isinstance(state, dict) and value.name == "argparse.Namespace":
        return state
    return value


def walk(value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield everything in a value in its order, itself first; what is shared is entered
    once, so cycles end.

    Yields:
        The names of what holds it, joined by dots; its own name or number; and the
        thing itself.
    """
    waiting: list[tuple[str, Any, Any, int]] = [("", "", value, 0)]
    seen: dict[int, Any] = {}
    while waiting:
        where, name, item, level = waiting.pop()
        yield where, name, item
        if id(item) in seen or level > _MOST_LEVELS:
            continue
        within = _within(item)
        if within:
            seen[id(item)] = item
            waiting.extend(
                (place(where, name), key, each, level + 1)
                for key, each in reversed(within)
            )


def _within(item: Any) -> list[tuple[Any, Any]]:
    if isinstance(item, dict):
        return list(item.items())
    if isinstance(item, list | tuple):
        return list(enumerate(item))
    if not isinstance(item, Inert):
        return []
    state = item.state if isinstance(item.state, dict) else {"state": item.state}
    return [*state.items(), *enumerate(item.args or ()), *enumerate(item.items)]


def place(where: str, name: Any) -> str:
    """Return the place of a thing: the names of what holds it and its own, joined by
    dots.
    """
    own = name[:_LONGEST_KEY] if isinstance(name, str) else brief(name)
    return f"{where}.{own}".strip(".")
