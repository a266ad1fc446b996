"""Registry of named extensions: readers, data sets, models, transforms, objectives."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any, Generic, TypeVar

from ecgnb.core.errors import ConfigError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return up to ``count`` of the ``known`` names that are most like ``name``, best
    first.
    """
    lowered = {other.lower(): other for other in known}
    matches = difflib.get_close_matches(name.lower(), lowered, n=count, cutoff=0.5)
    return [lowered[match] for match in matches]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint for an error about an unknown name, "" if no known name is like
    it.

    >>> did_you_mean("xresnet", ["xresnet1d18", "resnet1d"])
    " Did you mean 'resnet1d' or 'xresnet1d18'?"
    """
    names = " or ".join(map(repr, nearest(str(name), known)))
    return f" Did you mean {names}?" if names else ""


def import_submodules(package_name: str) -> None:
    """Import every module of a package, so that what they register is available.

    Call it at the end of the package's ``__init__``: a new file in the package is then
    registered without being listed anywhere.

    >>> import_submodules(__name__)  # doctest: +SKIP
    """
    for module in pkgutil.iter_modules(sys.modules[package_name].__path__):
        importlib.import_module(f"{package_name}.{module.name}")


class Registry(Generic[T]):
    """Names of classes or functions of one kind.

    >>> models = Registry("model")
    >>> @models.register("tiny", paper="He et al. 2016")
    ... class Tiny: ...
    >>> models.available()
    ('tiny',)
    >>> models.about("tiny")
    {'paper': 'He et al. 2016'}
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._about: dict[str, dict[str, Any]] = {}

    def register(self, name: str, **about: Any) -> Callable[[T], T]:
        """Return a decorator that registers a class or function under ``name``.

        Args:
            name: a name that is not registered yet.
            **about: facts about the entry, which `about` returns.

        Raises:
            ConfigError: the name is registered already.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ConfigError(
                    f"The {self.kind} {name!r} is registered already, by "
                    f"{self._entries[name]!r}. Give the new one another name."
                )
            self._entries[name] = entry
            self._about[name] = about
            return entry

        return add

    def get(self, name: str) -> T:
        """Return the entry called ``name``.

        Raises:
            ConfigError: an unknown name; the message has the nearest names.
        """
        if name in self._entries:
            return self._entries[name]
        hint = did_you_mean(name, self._entries)
        raise ConfigError(
            f"There is no {self.kind} called {name!r}.{hint} Available: "
            f"{', '.join(self.available())}."
        )

    def about(self, name: str) -> dict[str, Any]:
        """Return the keyword arguments with which ``name`` was registered."""
        self.get(name)
        return dict(self._about[name])

    def available(self) -> tuple[str, ...]:
        """Return all names in alphabetical order."""
        return tuple(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.available())

    def __len__(self) -> int:
        return len(self._entries)


def build_from_spec(registry: Registry[type[T]], spec: Any) -> T:
    """Build a registered dataclass from its name, or from a dictionary with ``"name"``
    and options.

    Args:
        registry: of dataclasses, whose fields are the options.
        spec: ``"zscore"``, or ``{"name": "bandpass", "low": 0.5}``.

    Raises:
        ConfigError: a name or option is unknown, an option is missing or has a value
            out of range.
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping) or "name" not in spec:
        raise ConfigError(
            f"A {registry.kind} needs a name; {spec!r} has none. Available: "
            f"{', '.join(registry)}."
        )
    name = spec["name"]
    entry: Any = registry.get(name)
    options = {}
    for key, value in spec.items():
        if key != "name":  # JSON has lists where the dataclasses have tuples
            options[key] = tuple(value) if isinstance(value, list) else value
    title = f"The {registry.kind} {name!r}"
    _check_options(title, entry, options)
    try:
        return entry(**options)
    except TypeError as error:  # text where a number is compared
        raise ConfigError(
            f"{title} cannot be built with {options!r}: {error}."
        ) from error


def _check_options(title: str, entry: Any, options: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(entry)]
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known)
            raise ConfigError(
                f"{title} has no option {option!r}.{hint} It has: {', '.join(known)}."
            )
    for field in fields(entry):
        is_required = field.default is field.default_factory is MISSING
        if is_required and field.name not in options:
            raise ConfigError(f"{title} needs the option {field.name!r}.")
