"""Python expressions of values, and statements in lines, as ruff formats them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import torch

#: Characters per line of an exported file.
LINE = 88


def literal(value: Any, name_of: Callable[[Any], str]) -> str:
    """Return a value as a Python expression.

    Args:
        value: a number, text, sequence, dictionary, slice or dtype; anything else goes
            to ``name_of``.
        name_of: names nodes of a graph, classes and functions.

    Raises:
        PortError: from ``name_of``, for what has no name.

    >>> print(literal([1, -float("inf"), "ab", slice(None, 2)], str))
    [1, float("-inf"), "ab", slice(None, 2, None)]
    """
    if value is Ellipsis:
        return "..."
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or isinstance(value, bool | int | float | torch.dtype):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        pairs = []
        for key, item in value.items():
            pairs.append(f"{literal(key, name_of)}: {literal(item, name_of)}")
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, slice):
        bounds = (value.start, value.stop, value.step)
        return f"slice{literal(bounds, name_of)}"
    if isinstance(value, list | tuple):
        items = ", ".join(literal(item, name_of) for item in value)
        if isinstance(value, list):
            return f"[{items}]"
        return f"({items},)" if len(value) == 1 else f"({items})"
    return name_of(value)


def index(value: Any, name_of: Callable[[Any], str]) -> str:
    """Return the text between the brackets of ``x[...]``.

    >>> index((slice(None), -1), str)
    ':, -1'
    """
    if isinstance(value, tuple) and value:
        items = ", ".join(index(item, name_of) for item in value)
        return f"{items}," if len(value) == 1 else items
    if not isinstance(value, slice):
        return literal(value, name_of)
    bounds = [value.start, value.stop]
    if value.step is not None:
        bounds.append(value.step)
    return ":".join("" if n is None else literal(n, name_of) for n in bounds)


def _quoted(text: str) -> str:
    """Quote a text in ASCII, so that no character of it can be read as code or change
    how code is displayed.
    """
    quoted = ascii(text)
    return quoted if '"' in text or quoted[0] == '"' else f'"{quoted[1:-1]}"'


def call(head: str, arguments: Sequence[str], indent: str = "", tail: str = "") -> str:
    """Return ``head(arguments)tail``, broken into lines where it is too long."""
    joined = ", ".join(arguments)
    line = f"{indent}{head}({joined}){tail}"
    if len(line) <= LINE:
        return line
    inner = f"{indent}    "
    body = f"{inner}{joined}\n"
    if len(inner + joined) > LINE:
        body = "".join(f"{_broken(argument, inner)},\n" for argument in arguments)
    return f"{indent}{head}(\n{body}{indent}){tail}"


def _broken(argument: str, indent: str) -> str:
    """Break a long list of numbers; a quoted text stays whole."""
    if len(indent + argument) < LINE or '"' in argument or "'" in argument:
        return indent + argument
    width = LINE - len(indent) - 5
    lines = textwrap.wrap(
        argument, width, break_long_words=False, break_on_hyphens=False
    )
    return indent + f"\n{indent}    ".join(lines)


def commented(line: str, comment: str) -> str:
    """Put a comment behind a line, or before it where both are too long together."""
    if not comment:
        return line
    if len(line) + len(comment) + 4 <= LINE and "\n" not in line:
        return f"{line}  # {comment}"
    indent = line[: len(line) - len(line.lstrip())]
    return f"{indent}# {comment}\n{line}"
