"""Constructors of plain containers that a pickle may call, from literal values only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

#: Builds a plain value from a call's arguments; `None` if they are not what the
#: constructor takes.
Constructor = Callable[[tuple[Any, ...]], Any]

#: Python hashes nested tuples by recursion in C, which a hostile file could drive over
#: the end of the stack, or to 2^n steps by sharing. No real key has more parts.
_MAX_KEY_PARTS = 100


def checked_key(value: Any) -> Any:
    """Return a value that can safely be a key of a dict or a member of a set.

    Raises:
        ValueError: it is a list, a dict or a set, or a tuple of too many parts.
    """
    parts, n_seen = [value], 0
    while parts:
        part = parts.pop()
        n_seen += 1
        if isinstance(part, tuple | frozenset):
            if n_seen + len(parts) + len(part) > _MAX_KEY_PARTS:
                raise ValueError("a key has too many parts")
            parts.extend(part)  # hashed with the whole
        elif isinstance(part, list | dict | set | bytearray):
            raise ValueError(f"a {type(part).__name__} cannot be a key")
    return value


def python3_name(name: str) -> str:
    """Return the Python 3 name of a global that Python 2 pickled.

    >>> python3_name("__builtin__.set")
    'builtins.set'
    """
    return re.sub(r"\A__builtin__\.", "builtins.", name)


def _dict(args: tuple[Any, ...]) -> dict[Any, Any] | None:
    pairs = args[0] if args else ()
    if len(args) > 1 or not isinstance(pairs, dict | list | tuple):
        return None
    if isinstance(pairs, dict):
        return dict(pairs)
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            return None
    return {checked_key(key): value for key, value in pairs}


def _sequence(kind: type) -> Constructor:
    def build(args: tuple[Any, ...]) -> Any:
        values = args[0] if args else ()
        if len(args) > 1 or not isinstance(values, list | tuple | set | frozenset):
            return None
        if kind in (set, frozenset):
            values = map(checked_key, values)
        return kind(values)

    return build


def _complex(args: tuple[Any, ...]) -> complex | None:
    if len(args) != 2 or not all(isinstance(part, float) for part in args):
        return None
    return complex(*args)  # real and imaginary part


def _encode(args: tuple[Any, ...]) -> bytes | None:
    """Build bytes, which protocol 2 keeps as text with one character per byte."""
    if len(args) != 2 or not isinstance(args[0], str):
        return None
    return args[0].encode("latin-1") if args[1] in ("latin1", "latin-1") else None


def _bytes(args: tuple[Any, ...]) -> bytes | None:
    if not args:
        return b""
    if len(args) == 1 and isinstance(args[0], bytes | bytearray):
        return bytes(args[0])
    return _encode(args)  # protocol 2: bytes(text, "latin1")


def _bytearray(args: tuple[Any, ...]) -> bytearray | None:
    content = _bytes(args)
    return None if content is None else bytearray(content)


CONSTRUCTORS: Mapping[str, Constructor] = {
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "collections.defaultdict": lambda args: _dict(args[1:]),  # without the factory
    "builtins.dict": _dict,
    "builtins.list": _sequence(list),
    "builtins.tuple": _sequence(tuple),
    "builtins.set": _sequence(set),
    "builtins.frozenset": _sequence(frozenset),
    "builtins.complex": _complex,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytearray,
    "_codecs.encode": _encode,
}


def construction_steps(args: tuple[Any, ...]) -> int:
    """Return what building from these arguments costs, in steps of the interpreter."""
    steps = 0
    for value in args:
        if isinstance(value, str | bytes | bytearray):
            steps += len(value) // 64  # copied as a block
        elif isinstance(value, list | tuple | dict | set | frozenset):
            steps += 4 * len(value)  # hashed and stored one by one
    return steps
