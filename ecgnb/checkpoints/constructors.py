"""Calls in a pickle that only make plain data, done here from literal values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Builds a plain value of a call's arguments; `None` where they are not what the
#: constructor takes.
Constructor = Callable[[tuple[Any, ...]], Any]

#: A key with more parts than this is no name of anything. Python hashes tuples in
#: tuples by recursion in C, which a hostile file could drive over the end of the stack,
#: or to 2^n steps by sharing.
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
    return (
        "builtins." + name.removeprefix("__builtin__.")
        if name.startswith("__builtin__.")
        else name
    )


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
    if (
        len(args) != 2
        or not isinstance(args[0], str)
        or args[1] not in ("latin1", "latin-1")
    ):
        return None
    return args[0].encode("latin-1")


def _bytes(args: tuple[Any, ...]) -> bytes | None:
    if not args:
        return b""
    return (
        bytes(args[0])
        if len(args) == 1 and isinstance(args[0], bytes | bytearray)
        else _encoded(args)
    )


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
    """Return how much a constructor may build of these arguments, in steps of the
    interpreter.
    """
    return sum(_cost(value) for value in args)


def _cost(value: Any) -> int:
    if isinstance(value, str | bytes | bytearray):
        return len(value) // 64
    return (
        4 * len(value)
        if isinstance(value, list | tuple | dict | set | frozenset)
        else 0
    )


_LONGEST_TEXT, _MOST_ITEMS, _WIDEST_NUMBER = 120, 6, 256


@dataclass(eq=False, repr=False, slots=True)
class Inert:
    """A function, a class, or what calling it would have made; none of it was imported.

    Attributes:
        name: module and name as the pickle has them, such as ``"argparse.Namespace"``.
        args: of the call; ``None`` where the thing was only named.
        kwargs: of the call.
        state: what the object's ``__setstate__`` or ``__dict__`` would have got.
        items: what would have been appended, or set as pairs.
    """

    name: str
    args: tuple[Any, ...] | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    state: Any = None
    items: list[Any] = field(default_factory=list)

    @property
    def called(self) -> bool:
        """Whether the pickle calls it, rather than only naming it."""
        return self.args is not None

    def __repr__(self) -> str:
        return f"<inert {brief(self)}>"


def brief(value: Any) -> str:
    """Return a short text for any value of a pickle, however large, deep or cyclic it
    is, without control characters.

    Numbers within lists, dicts and tuples are counted, never shown: they may be
    measurements of patients.

    >>> brief(Inert("posix.system", ("touch x",)))
    "posix.system('touch x')"
    >>> brief([0.25, 0.75])
    'list of 2'
    """
    if isinstance(value, str):
        return (
            repr(value)
            if len(value) <= _LONGEST_TEXT
            else repr(value[:_LONGEST_TEXT]) + "..."
        )
    if isinstance(value, int) and value.bit_length() > _WIDEST_NUMBER:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | int | float | complex):
        return repr(value)
    if isinstance(value, Inert):
        name = repr(value.name[:_LONGEST_TEXT])[1:-1]
        return f"{name}({brief_arguments(value)})" if value.called else name
    kind = type(value).__name__
    if (
        isinstance(value, list | tuple)
        and value
        and all(_is_word(item) for item in value[:_MOST_ITEMS])
    ):
        return f"{kind}({_listed(list(value[:_MOST_ITEMS]), len(value))})"
    return f"{kind} of {len(value)}" if hasattr(value, "__len__") else kind


def brief_arguments(call: Inert) -> str:
    """Return the arguments of a call as a short text; calls among them are not
    followed.
    """
    args = call.args or ()
    words = [_flat(value) for value in args[:_MOST_ITEMS]] + ["..."] * (
        len(args) > _MOST_ITEMS
    )
    words += [
        f"{brief(key)[1:-1]}={_flat(value)}"
        for key, value in list(call.kwargs.items())[:_MOST_ITEMS]
    ]
    return ", ".join(words)


def _flat(value: Any) -> str:
    return (
        f"{brief(Inert(value.name))}(...)"
        if isinstance(value, Inert) and value.called
        else brief(value)
    )


def _is_word(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, Inert) and not value.called)


def _listed(words: list[Any], total: int) -> str:
    return ", ".join(map(brief, words)) + (", ..." if total > len(words) else "")
