"""`Inert`: a note of an object that a pickle would have imported or called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_MAX_CHARACTERS = 120  # of a text
_MAX_ITEMS = 6  # of a list or a call
_MAX_BITS = 256  # of an integer


@dataclass(eq=False, repr=False, slots=True)
class Inert:
    """A function, a class, or the result of calling it; none of it was imported.

    Attributes:
        name: module and name as the pickle has them, such as ``"argparse.Namespace"``.
        args: of the call; ``None`` where the object was only named.
        kwargs: of the call.
        state: argument for the object's ``__setstate__`` or ``__dict__``.
        items: values to append, or pairs to set.
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
    """Return a short text for any value of a pickle, however large, deep or cyclic.

    It has no control characters. Numbers in lists, dicts and tuples are counted and
    never shown: they may be measurements of patients.

    >>> brief(Inert("posix.system", ("touch x",)))
    "posix.system('touch x')"
    >>> brief([0.25, 0.75])
    'list of 2'
    """
    if isinstance(value, str):
        more = "..." if len(value) > _MAX_CHARACTERS else ""
        return repr(value[:_MAX_CHARACTERS]) + more  # escapes control characters
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, int | float | complex | None):
        return repr(value)
    if isinstance(value, Inert):
        name = brief_name(value.name)
        return f"{name}({_brief_arguments(value)})" if value.called else name
    kind = type(value).__name__
    if isinstance(value, list | tuple) and value:
        first = value[:_MAX_ITEMS]
        if all(map(_is_name, first)):
            texts = ", ".join(map(brief, first))
            more = ", ..." if len(value) > _MAX_ITEMS else ""
            return f"{kind}({texts}{more})"
    return f"{kind} of {len(value)}" if hasattr(value, "__len__") else kind


def brief_name(name: Any) -> str:
    """Return a name or key as text without quotes and control characters."""
    if not isinstance(name, str):
        return brief(name)
    return repr(name[:_MAX_CHARACTERS])[1:-1]  # escapes control characters


def _brief_arguments(call: Inert) -> str:
    args = call.args or ()
    texts = [_brief_argument(value) for value in args[:_MAX_ITEMS]]
    if len(args) > _MAX_ITEMS:
        texts.append("...")
    for key, value in list(call.kwargs.items())[:_MAX_ITEMS]:
        keyword = brief(key)[1:-1]  # without quotes
        texts.append(f"{keyword}={_brief_argument(value)}")
    return ", ".join(texts)


def _brief_argument(value: Any) -> str:
    """Return a short text that does not follow calls in calls, which may be cyclic."""
    if isinstance(value, Inert) and value.called:
        return f"{brief_name(value.name)}(...)"
    return brief(value)


def _is_name(value: Any) -> bool:
    is_global = isinstance(value, Inert) and not value.called
    return is_global or isinstance(value, str)
