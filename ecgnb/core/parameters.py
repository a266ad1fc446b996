"""Configuration dataclasses as parameters: types, choices, help, conversion."""

from __future__ import annotations

import functools
import inspect
import json
import math
import os
import re
import typing
from collections.abc import Callable
from typing import Any

from ecgnb.core.errors import ConfigError
from ecgnb.core.registry import did_you_mean


@functools.cache
def field_types(config: type) -> dict[str, Any]:
    """Return the resolved type of every field of a dataclass, by field name."""
    return typing.get_type_hints(config)


@functools.cache
def field_help(config: type) -> dict[str, str]:
    """Return the help of every field, from the ``Attributes`` section of the docstring.

    >>> from ecgnb.evaluation.config import EvaluationConfig
    >>> field_help(EvaluationConfig)["bootstrap_resamples"]
    'resamples behind each interval'
    """
    docstring = inspect.getdoc(config) or ""
    _, _, section = docstring.partition("\nAttributes:\n")
    section = re.split(r"^\S", section, maxsplit=1, flags=re.M)[0]
    entries = re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |\Z)", section, re.M | re.S)
    texts = {}
    for name, text in entries:
        plain = text.replace("``", "")  # markup of Sphinx, noise in a terminal
        texts[name] = " ".join(plain.split()).rstrip(".")
    return texts


def choices_of(hint: Any) -> tuple[Any, ...]:
    """Return the values of a ``Literal`` type, () for any other type."""
    if typing.get_origin(hint) is not typing.Literal:
        return ()
    return typing.get_args(hint)


def check_choices(config: Any) -> None:
    """Check each ``Literal`` field of a dataclass; call it in ``__post_init__``.

    Raises:
        ConfigError: a value is not among the choices of its field.
    """
    kind: Any = type(config)
    for name, hint in field_types(kind).items():
        if choices := choices_of(hint):
            _check_choice(name.upper(), getattr(config, name), choices)


def _check_choice(name: str, value: object, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        hint = did_you_mean(str(value), map(str, choices))
        known = ", ".join(map(repr, choices))
        raise ConfigError(f"{name} is {value!r}; choose one of {known}.{hint}")


def plain_value(value: Any) -> Any:
    """Return a value without the types of NumPy, pandas and PyTorch, also inside lists
    and dictionaries; the text "None" alone is None.

    >>> plain_value(" None "), plain_value(["None", "AF"])  # a class may be called so
    (None, ['None', 'AF'])
    """
    is_none = isinstance(value, str) and value.strip() == "None"
    return None if is_none else _without_array_types(value)


def _without_array_types(value: Any) -> Any:
    if hasattr(value, "tolist"):  # arrays, their scalars, tensors, columns
        return value.tolist()
    if isinstance(value, dict):
        return {key: _without_array_types(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_without_array_types, value))
    return value


def convert(name: str, value: Any, hint: Any) -> Any:
    """Convert a value to the type of parameter ``name`` where its meaning is certain.

    Text is parsed as the type requires ("true" or "false" as a bool, ``a,b`` as a
    list, JSON as a dictionary), because papermill's ``-p`` and environment variables
    are text. Arrays and NumPy scalars are what they contain, a path is its text. Any
    other value must have the right type already.

    Raises:
        ConfigError: the value has another type, or is not among the choices.
    """
    value = _without_array_types(value)
    kind = typing.get_origin(hint) or hint
    if kind is typing.Literal:
        _check_choice(name, value, typing.get_args(hint))
        return value
    if kind in _CONVERTERS:
        return _CONVERTERS[kind](name, value, hint)
    if hint is str and isinstance(value, str | os.PathLike):
        return _without_quotes(os.fspath(value))
    raise _wrong_type(name, value, hint)


def _without_quotes(text: str) -> str:
    """Return the text without quotes around all of it, which a shell left there."""
    for quote in "'\"":
        if len(text) > 1 and text.startswith(quote) and text.endswith(quote):
            return text[1:-1]
    return text


def _convert_number(name: str, value: Any, hint: type) -> Any:
    try:
        number = hint(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise _wrong_type(name, value, hint) from error
    if hint is float and not math.isfinite(number):
        raise ConfigError(
            f"{name} is {value!r}; it needs a finite number, such as 1.0."
        )
    is_exact = isinstance(value, str) or number == value  # int(2.5) is 2
    if isinstance(value, bool) or not is_exact:  # True is an integer in Python
        raise _wrong_type(name, value, hint)
    return number


def _wrong_type(name: str, value: Any, hint: Any) -> ConfigError:
    wanted = getattr(hint, "__name__", hint)
    return ConfigError(
        f"{name} is {value!r} ({type(value).__name__}); it needs a value of type "
        f"{wanted}."
    )


def _convert_bool(name: str, value: Any, _: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = value.strip().lower() if isinstance(value, str) else ""
    if text not in ("true", "false"):
        raise ConfigError(f"{name} is {value!r}; it needs True or False.")
    return text == "true"


def _convert_sequence(name: str, value: Any, hint: Any) -> tuple[Any, ...]:
    if isinstance(value, str) and value.strip().startswith("["):  # JSON
        value = _parse_json(name, value)
    elif isinstance(value, str):
        # Items may contain blanks, as in "sinus rhythm,atrial fibrillation".
        separator = r"[,|]" if re.search(r"[,|]", value) else r"\s"
        parts = map(str.strip, re.split(separator, value))
        value = list(filter(None, parts))  # "a,,b" has two parts
    if isinstance(value, set | frozenset):
        raise ConfigError(
            f"{name} is {value!r}, a set, which has no order; it needs a list such as "
            "['a', 'b']."
        )
    if not isinstance(value, list | tuple | range):
        raise ConfigError(
            f"{name} is {value!r}; it needs a list such as ['a', 'b'] or the text "
            "'a,b'."
        )
    item_hint, *_ = typing.get_args(hint) or (Any,)
    if item_hint is Any:
        return tuple(value)
    return tuple(convert(f"an item of {name}", item, item_hint) for item in value)


def _convert_dict(name: str, value: Any, _: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = _parse_json(name, value) if value.strip() else {}
    if not isinstance(value, dict):
        raise ConfigError(
            f"{name} is {value!r}; it needs a dictionary, or JSON text such as "
            "'{\"width\": 64}'."
        )
    return dict(value)


def _parse_json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{name} is {text!r}, which is no valid JSON: {error}."
        ) from error


#: Functions of the parameter's name, a value and the type hint.
_CONVERTERS: dict[Any, Callable[..., Any]] = {
    bool: _convert_bool,
    int: _convert_number,
    float: _convert_number,
    list: _convert_sequence,
    tuple: _convert_sequence,
    dict: _convert_dict,
}
