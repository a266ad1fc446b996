"""Values as Python expressions, and statements broken into lines, for exported source
code.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import torch

#: Characters a line may have.
LINE = 120


def literal(value: Any, name_of: Callable[[Any], str]) -> str:
    """Return a value as a Python expression.

    Args:
        value: numbers, texts, sequences, slices, dtypes; what else there is goes to
            ``name_of``.
        name_of: names what has a name: nodes of a graph, classes, functions.

    Raises:
        PortError: from ``name_of``, for what has no name.

    >>> print(literal([1, -float("inf"), "ab", slice(None, 2)], str))
    [1, float("-inf"), "ab", slice(None, 2, None)]
    """
    if value is None or value is Ellipsis or isinstance(value, bool | int):
        return "..." if value is Ellipsis else repr(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, slice):
        return f"slice({', '.join(literal(each, name_of) for each in (value.start, value.stop, value.step))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(k, name_of)}: {literal(v, name_of)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        inner = ", ".join(literal(each, name_of) for each in value)
        return (
            f"[{inner}]"
            if isinstance(value, list)
            else f"({inner},)"
            if len(value) == 1
            else f"({inner})"
        )
    return name_of(value)


def index(value: Any, name_of: Callable[[Any], str]) -> str:
    """Return what stands between the brackets of ``x[...]``.

    >>> index((slice(None), -1), str)
    ':, -1'
    """
    if isinstance(value, tuple) and value:
        return ", ".join(index(each, name_of) for each in value) + (
            "," if len(value) == 1 else ""
        )
    if isinstance(value, slice):
        start, stop, step = (
            "" if each is None else literal(each, name_of)
            for each in (value.start, value.stop, value.step)
        )
        return f"{start}:{stop}" + (f":{step}" if step else "")
    return literal(value, name_of)


def _quoted(text: str) -> str:
    """Quote a text in ASCII, so that no character of it can be read as code or change
    how code looks.
    """
    quoted = ascii(text)
    return quoted if '"' in text or quoted[0] == '"' else f'"{quoted[1:-1]}"'


def call(head: str, arguments: Sequence[str], indent: str = "", tail: str = "") -> str:
    """Return ``head(arguments)tail``, broken into lines where it is too long for
    one.
    """
    inner = ", ".join(arguments)
    if len(f"{indent}{head}({inner}){tail}") <= LINE:
        return f"{indent}{head}({inner}){tail}"
    deep = f"{indent}    "
    if len(deep + inner) <= LINE:
        return f"{indent}{head}(\n{deep}{inner}\n{indent}){tail}"
    lines = "".join(f"{_broken(argument, deep)},\n" for argument in arguments)
    return f"{indent}{head}(\n{lines}{indent}){tail}"


def row(head: str, values: Sequence[str], indent: str = "", tail: str = "") -> str:
    """Return ``head a, b`` of names, in brackets where it is too long for one line."""
    line = f"{indent}{head}{', '.join(values)}{tail}"
    return line if len(line) <= LINE else call(head, values, indent, tail)


def _broken(argument: str, indent: str) -> str:
    """Break a long list of numbers; a text in quotes stays whole."""
    if len(indent + argument) < LINE or '"' in argument or "'" in argument:
        return indent + argument
    wrapped = textwrap.wrap(
        argument, LINE - len(indent) - 5, break_long_words=False, break_on_hyphens=False
    )
    return indent + f"\n{indent}    ".join(wrapped)


def commented(line: str, comment: str) -> str:
    """Put a comment behind a line, or before it where both are too long together."""
    if not comment:
        return line
    if len(line) + len(comment) + 4 <= LINE and "\n" not in line:
        return f"{line}  # {comment}"
    return f"{line[: len(line) - len(line.lstrip())]}# {comment}\n{line}"
