"""Python expressions of values, and statements in lines, as ruff formats them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
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
    if value is Ellipsis:  # in an index
        return "..."
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'  # repr would be inf or nan, which are no names
    if value is None or isinstance(value, bool | int | float | torch.dtype):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        pairs = []
        for key, item in value.items():
            key_text = literal(key, name_of)
            pairs.append(f"{key_text}: {literal(item, name_of)}")
        items = ", ".join(pairs)
        return f"{{{items}}}"
    if isinstance(value, slice):
        bounds = (value.start, value.stop, value.step)
        return f"slice{literal(bounds, name_of)}"
    if isinstance(value, list | tuple):
        items = ", ".join(arguments_of(value, {}, name_of))
        if isinstance(value, list):
            return f"[{items}]"
        comma = "," if len(value) == 1 else ""  # (1) would be a number
        return f"({items}{comma})"
    return name_of(value)


def arguments_of(
    args: Sequence[Any], options: Mapping[str, Any], name_of: Callable[[Any], str]
) -> list[str]:
    """Return positional and keyword arguments as expressions; see `literal`."""
    arguments = [literal(value, name_of) for value in args]
    for name, value in options.items():
        arguments.append(f"{name}={literal(value, name_of)}")
    return arguments


def index(value: Any, name_of: Callable[[Any], str]) -> str:
    """Return the text between the brackets of ``x[...]``.

    >>> index((slice(None), -1), str)
    ':, -1'
    """
    if isinstance(value, tuple) and value:
        items = [index(item, name_of) for item in value]
        comma = "," if len(value) == 1 else ""
        return ", ".join(items) + comma
    if not isinstance(value, slice):
        return literal(value, name_of)
    bounds = [value.start, value.stop]
    if value.step is not None:
        bounds.append(value.step)
    texts = ["" if bound is None else literal(bound, name_of) for bound in bounds]
    return ":".join(texts)


def _quoted(text: str) -> str:
    """Quote a text in ASCII, so that no character of it can be read as code or change
    how code is displayed.
    """
    quoted = ascii(text)
    if '"' in quoted:
        return quoted  # with single quotes, or with double ones around a single one
    return f'"{quoted[1:-1]}"'


def call(head: str, arguments: Sequence[str], indent: str = "", tail: str = "") -> str:
    """Return ``head(arguments)tail``, broken into lines where it is too long."""
    joined = ", ".join(arguments)
    line = f"{indent}{head}({joined}){tail}"
    if len(line) <= LINE:
        return line
    inner = f"{indent}    "
    lines = [inner + joined]
    if len(lines[0]) > LINE:  # one argument per line, each with a comma
        lines = [f"{_broken(argument, inner)}," for argument in arguments]
    first, last = f"{indent}{head}(", f"{indent}){tail}"
    return "\n".join([first, *lines, last])


def _broken(argument: str, indent: str) -> str:
    """Break a long list of numbers; a quoted text stays whole."""
    if len(indent + argument) < LINE or '"' in argument or "'" in argument:
        return indent + argument
    width = LINE - len(indent) - 5  # later lines have 4 spaces more, and a comma
    lines = textwrap.wrap(
        argument, width, break_long_words=False, break_on_hyphens=False
    )
    return indent + f"\n{indent}    ".join(lines)


def commented(line: str, comment: str) -> str:
    """Put a comment behind a line, or before it where both are too long together."""
    if not comment:
        return line
    behind = f"{line}  # {comment}"
    if len(behind) <= LINE and "\n" not in line:
        return behind
    indent = " " * (len(line) - len(line.lstrip()))
    return f"{indent}# {comment}\n{line}"
