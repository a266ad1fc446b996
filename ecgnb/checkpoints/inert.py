"""What stands where a pickle would have called something: a note of what it named, and with which arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
    """Return a short text for any value of a pickle, however large, deep or cyclic it is, without control characters.

    Numbers within lists, dicts and tuples are counted, never shown: they may be measurements of patients.

    >>> brief(Inert("posix.system", ("touch x",)))
    "posix.system('touch x')"
    >>> brief([0.25, 0.75])
    'list of 2'
    """
    if isinstance(value, str):
        return repr(value) if len(value) <= _LONGEST_TEXT else repr(value[:_LONGEST_TEXT]) + "..."
    if isinstance(value, int) and value.bit_length() > _WIDEST_NUMBER:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | int | float | complex):
        return repr(value)
    if isinstance(value, Inert):
        name = repr(value.name[:_LONGEST_TEXT])[1:-1]
        return f"{name}({brief_arguments(value)})" if value.called else name
    kind = type(value).__name__
    if isinstance(value, list | tuple) and value and all(_is_word(item) for item in value[:_MOST_ITEMS]):
        return f"{kind}({_listed(list(value[:_MOST_ITEMS]), len(value))})"
    return f"{kind} of {len(value)}" if hasattr(value, "__len__") else kind


def brief_arguments(call: Inert) -> str:
    """Return the arguments of a call as a short text; calls among them are not followed."""
    args = call.args or ()
    words = [_flat(value) for value in args[:_MOST_ITEMS]] + ["..."] * (len(args) > _MOST_ITEMS)
    words += [f"{brief(key)[1:-1]}={_flat(value)}" for key, value in list(call.kwargs.items())[:_MOST_ITEMS]]
    return ", ".join(words)


def _flat(value: Any) -> str:
    return f"{brief(Inert(value.name))}(...)" if isinstance(value, Inert) and value.called else brief(value)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, Inert) and not value.called)


def _listed(words: list[Any], total: int) -> str:
    return ", ".join(map(brief, words)) + (", ..." if total > len(words) else "")
