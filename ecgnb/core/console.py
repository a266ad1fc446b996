"""Tables and text for terminals and notebooks."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Callable
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: Least width of a column, in characters.
_MIN_WIDTH = 8
#: Width in characters where the output is no terminal, so that files have long lines.
_NO_TERMINAL = 10_000


def terminal_width() -> int:
    """Return the width of the terminal in characters, a huge one without a terminal."""
    return shutil.get_terminal_size((_NO_TERMINAL, 24)).columns


def text_table(table: pd.DataFrame, width: int | None = None) -> str:
    """Return a table as text: left-aligned, three decimals, without empty columns.

    Args:
        table: any; its index is not shown.
        width: characters per line, to which the longest cells are wrapped; None wraps
            nothing.
    """
    cells = table.map(_cell).where(table.notna(), "")
    cells = cells.loc[:, (cells != "").any()]
    rows = [list(map(str, cells.columns)), *cells.to_numpy().tolist()]
    widths, longest_words = [], []
    for column in zip(*rows, strict=True):
        widths.append(max(map(len, column)))
        words = " ".join(column).split()
        longest_words.append(max(map(len, words), default=0))
    if width:
        gaps = 2 * (len(widths) - 1)  # two spaces between columns
        _shrink(widths, longest_words, width - gaps)
    lines: list[str] = []
    for row in rows:
        lines += _wrapped_row(row, widths)
    return "\n".join(lines)


def _shrink(widths: list[int], longest_words: list[int], total: int) -> None:
    """Narrow the widest column until all fit into ``total``: first down to its longest
    word, then also within words.
    """
    for limits in (longest_words, [_MIN_WIDTH] * len(widths)):
        while sum(widths) > total:
            wide = [i for i, limit in enumerate(limits) if widths[i] > limit]
            if not wide:
                break
            widest = max(wide, key=widths.__getitem__)
            widths[widest] -= 1


def _wrapped_row(row: list[str], widths: list[int]) -> list[str]:
    """Return one row of a table, on several lines where a cell is wrapped."""
    wrapped = [
        textwrap.wrap(cell, width, break_on_hyphens=False)
        for cell, width in zip(row, widths, strict=True)
    ]
    lines = []
    for parts in zip_longest(*wrapped, fillvalue=""):
        padded = map(str.ljust, parts, widths)
        lines.append("  ".join(padded).rstrip())
    return lines or [""]  # of a row without text


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else printable(str(value))


def printable(text: str) -> str:
    r"""Return a text of unknown origin without line ends and control characters, which
    could command the terminal.

    >>> printable("conv1d\x1b[2J")
    'conv1d?[2J'
    """
    one_line = " ".join(text.split())
    return "".join(char if char.isprintable() else "?" for char in one_line)


def text_facts(facts: dict[str, Any], width: int | None = None) -> str:
    """Return one fact per line: the name, then the value, wrapped at ``width``
    characters and aligned.
    """
    left = max(map(len, facts), default=0) + 2
    room = max(width - left, 2 * _MIN_WIDTH) if width else _NO_TERMINAL
    lines = []
    for name, value in facts.items():
        title = name
        for paragraph in str(value).split("\n"):
            for part in textwrap.wrap(paragraph, room) or [""]:
                lines.append(f"{title:<{left}}{part}".rstrip())
                title = ""  # only in front of the first line
    return "\n".join(lines)


def filled(text: str, width: int) -> str:
    """Wrap the lines of a text at ``width`` characters, without control characters."""
    return "\n".join(
        textwrap.fill(printable(line), width, break_on_hyphens=False)
        for line in text.split("\n")
    )


def html_table(
    table: pd.DataFrame, formatters: dict[Any, Callable[[Any], str]] | None = None
) -> str:
    """Return a table for a notebook: left-aligned, without an index."""
    text = table.to_html(
        index=False,
        na_rep="",
        justify="left",
        escape=True,
        formatters=formatters,
    )
    # In the cells, because the style sheets of notebooks align and wrap them.
    style = "text-align:left; white-space:nowrap"
    return re.sub("<(t[dh])>", rf"<\1 style='{style}'>", text)
