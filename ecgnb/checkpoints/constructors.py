"""Calls in a pickle that only make plain data, done here from literal values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: Builds a plain value of a call's arguments; `None` where they are not what the constructor takes.
Constructor = Callable[[tuple[Any, ...]], Any]

#: A key with more parts than this is no name of anything. Python hashes tuples in tuples by recursion in C, which a
#: hostile file could drive over the end of the stack, or to 2^n steps by sharing.
_MOST_KEY_PARTS = 100


def checked_key(value: Any) -> Any:
    """Return what can safely be a key of a dict or a member of a set.

    Raises:
        ValueError: it is a list, a dict or a set, or a tuple of too many parts.
    """
    waiting, seen = [value], 0
    while waiting:
        part = waiting.pop()
        seen += 1
        if isinstance(part, tuple | frozenset):
            if seen + len(waiting) + len(part) > _MOST_KEY_PARTS:
                raise ValueError("a key has too many parts")
            waiting.extend(part)
        elif isinstance(part, list | dict | set | bytearray):
            raise ValueError(f"a {type(part).__name__} cannot be a key")
    return value


def modern(name: str) -> str:
    """Return the name of a thing in Python 3, where Python 2 called it otherwise.

    >>> modern("__builtin__.set")
    'builtins.set'
    """
    return "builtins." + name.removeprefix("__builtin__.") if name.startswith("__builtin__.") else name


def _dict(args: tuple[Any, ...]) -> dict[Any, Any] | None:
    if not args:
        return {}
    if len(args) > 1:
        return None
    if isinstance(args[0], dict):
        return dict(args[0])
    if not isinstance(args[0], list | tuple):
        return None
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in args[0]):
        return None
    return {checked_key(key): value for key, value in args[0]}


def _default_dict(args: tuple[Any, ...]) -> dict[Any, Any] | None:
    """Ignore the factory: nothing is looked up that is not there."""
    return _dict(args[1:])


def _members(kind: Callable[[Any], Any]) -> Constructor:
    def build(args: tuple[Any, ...]) -> Any:
        if not args:
            return kind(())
        if len(args) > 1 or not isinstance(args[0], list | tuple | set | frozenset):
            return None
        return kind(map(checked_key, args[0]) if kind in (set, frozenset) else args[0])

    return build


def _complex(args: tuple[Any, ...]) -> complex | None:
    if len(args) != 2 or not all(isinstance(part, float) for part in args):
        return None
    return complex(*args)


def _encoded(args: tuple[Any, ...]) -> bytes | None:
    """Return bytes that protocol 2 keeps as text, a character a byte."""
    if len(args) != 2 or not isinstance(args[0], str) or args[1] not in ("latin1", "latin-1"):
        return None
    return args[0].encode("latin-1")


def _bytes(args: tuple[Any, ...]) -> bytes | None:
    if not args:
        return b""
    return bytes(args[0]) if len(args) == 1 and isinstance(args[0], bytes | bytearray) else _encoded(args)


def _bytearray(args: tuple[Any, ...]) -> bytearray | None:
    held = _bytes(args)
    return None if held is None else bytearray(held)


CONSTRUCTORS: Mapping[str, Constructor] = {
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "collections.defaultdict": _default_dict,
    "builtins.dict": _dict,
    "builtins.list": _members(list),
    "builtins.tuple": _members(tuple),
    "builtins.set": _members(set),
    "builtins.frozenset": _members(frozenset),
    "builtins.complex": _complex,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytearray,
    "_codecs.encode": _encoded,
}


def cost(args: tuple[Any, ...]) -> int:
    """Return how much a constructor may build of these arguments, in steps of the interpreter."""
    return sum(_cost(value) for value in args)


def _cost(value: Any) -> int:
    if isinstance(value, str | bytes | bytearray):
        return len(value) // 64
    return 4 * len(value) if isinstance(value, list | tuple | dict | set | frozenset) else 0
