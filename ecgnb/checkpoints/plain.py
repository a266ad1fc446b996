"""Walk through a checkpoint's values, and reduce configurations to plain dicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ecgnb.checkpoints.inert import Inert, brief
from ecgnb.core.errors import CheckpointError

_MAX_LEVELS = 64  # no configuration and no state dict is nested deeper
_MAX_KEY_CHARACTERS = 200


def plain(value: Any) -> Any:
    """Replace objects of omegaconf and argparse by the dicts, lists and values in them.

    Other `Inert` notes and tensors stay as they are, and shared objects stay shared.

    Raises:
        CheckpointError: it is nested deeper than any configuration.

    >>> plain(Inert("argparse.Namespace", (), state={"lr": 0.1}))
    {'lr': 0.1}
    """
    return _plain(value, {}, 0)


def _plain(value: Any, done: dict[int, Any], level: int) -> Any:
    if level > _MAX_LEVELS:
        raise CheckpointError(
            f"A value of the checkpoint is nested deeper than {_MAX_LEVELS} levels."
        )
    if id(value) in done:
        return done[id(value)]
    result: Any = value
    if isinstance(value, Inert):
        content = _configuration(value)
        if content is not value:
            result = _plain(content, done, level + 1)
    elif isinstance(value, dict):
        result = done[id(value)] = {}  # entered before it is filled: it may be cyclic
        for key, item in value.items():
            result[key] = _plain(item, done, level + 1)
    elif isinstance(value, list):
        result = done[id(value)] = []
        for item in value:
            result.append(_plain(item, done, level + 1))
    elif isinstance(value, tuple):
        result = tuple(_plain(item, done, level + 1) for item in value)
    done[id(value)] = result
    return result


def _configuration(value: Inert) -> Any:
    """Return the contents of an omegaconf or argparse object, any other as it is."""
    state = value.state
    if not isinstance(state, dict):
        return value
    if value.name == "argparse.Namespace":
        return state
    if not value.name.startswith("omegaconf."):
        return value
    node = state.get("_val", value)
    return state.get("_content", node)  # of DictConfig and ListConfig


def walk(value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield a value and everything in it; shared objects are entered once.

    Yields:
        The path of the object's container, keys joined by dots; its own key or index;
        and the object.
    """
    stack: list[tuple[str, Any, Any, int]] = [("", "", value, 0)]
    entered: dict[int, Any] = {}  # keeps the objects alive, so that ids stay theirs
    while stack:
        path, name, item, level = stack.pop()
        yield path, name, item
        if id(item) in entered or level > _MAX_LEVELS:
            continue
        children = list(_children(item))  # a dict may be in itself
        if children:
            entered[id(item)] = item
        for key, child in reversed(children):  # the first is on top of the stack
            stack.append((join_path(path, name), key, child, level + 1))


def _children(item: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(item, dict):
        return item.items()
    if isinstance(item, list | tuple):
        return enumerate(item)
    if not isinstance(item, Inert):
        return ()
    state = item.state if isinstance(item.state, dict) else {"state": item.state}
    args = enumerate(item.args or ())
    return [*state.items(), *args, *enumerate(item.items)]


def join_path(path: str, name: Any) -> str:
    """Return the path of an object: that of its container and its own key."""
    key = name[:_MAX_KEY_CHARACTERS] if isinstance(name, str) else brief(name)
    return f"{path}.{key}".strip(".")
