"""One registry for readers, data sets, models, transforms and objectives."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ecgnb.errors import ConfigError

T = TypeVar("T")


def nearest(name: str, known: list[str] | tuple[str, ...], count: int = 3) -> list[str]:
    """Return up to ``count`` names of ``known`` that look most like ``name``, best first."""
    lowered = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), list(lowered), n=count, cutoff=0.5)
    return [lowered[other] for other in found]


class Registry(Generic[T]):
    """Names mapped to things of one kind.

    >>> models = Registry("model")
    >>> @models.register("tiny")
    ... class Tiny: ...
    >>> models.available()
    ('tiny',)
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that enters a thing under ``name``; a name taken twice is a ``ConfigError``."""

        def enter(thing: T) -> T:
            if name in self._entries:
                raise ConfigError(
                    f"The {self.kind} {name!r} is registered already, by {self._entries[name]!r}. "
                    "Give the new one another name."
                )
            self._entries[name] = thing
            return thing

        return enter

    def get(self, name: str) -> T:
        """Return the thing called ``name``; an unknown name is a ``ConfigError`` with the nearest names."""
        if name in self._entries:
            return self._entries[name]
        near = nearest(str(name), list(self._entries))
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ConfigError(f"There is no {self.kind} called {name!r}.{hint} Available: {', '.join(self.available())}.")

    def available(self) -> tuple[str, ...]:
        """Return all names in alphabetical order."""
        return tuple(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.available())

    def __len__(self) -> int:
        return len(self._entries)
