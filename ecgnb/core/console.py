"""What a terminal needs: tables that fit into it, and commands with their help."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: What a column is never made narrower than.
_NARROWEST = 8
#: Taken where the output is no terminal, so that a file holds long lines rather than
#: broken ones.
_NO_TERMINAL = 10_000


def terminal_width() -> int:
    """Return the columns of the terminal, or more than any table has where there is
    none.
    """
    return shutil.get_terminal_size((_NO_TERMINAL, 24)).columns


def text_table(table: pd.DataFrame, width: int | None = None) -> str:
    """Return a table for people: text to the left, three decimals, no columns without
    content.

    Args:
        table: any; its index is not shown.
        width: columns to keep to, by breaking the longest cells; left out, lines are as
            long as they are.
    """
    shown = table.map(_cell)
    shown = shown.loc[:, (shown != "").any()]
    widths = [max(map(len, [str(name), *shown[name]])) for name in shown]
    if width:
        words = [
            max(map(len, " ".join([str(name), *shown[name]]).split())) for name in shown
        ]
        _shrink(widths, words, width - 2 * len(widths) + 2)
    rows = (list(shown.columns), *shown.to_numpy().tolist())
    return "\n".join(line for row in rows for line in _lines(row, widths))


def _shrink(widths: list[int], words: list[int], width: int) -> None:
    """Narrow columns, the widest first, until all fit: at first to their longest word,
    then within words, too.
    """
    for least in (words, [_NARROWEST] * len(widths)):
        while sum(widths) > width and any(
            now > low for now, low in zip(widths, least, strict=True)
        ):
            widths[
                max(
                    (k for k in range(len(widths)) if widths[k] > least[k]),
                    key=lambda k: widths[k],
                )
            ] -= 1


def _lines(row: list[str], widths: list[int]) -> list[str]:
    """Return one row of a table, on several lines where a cell is broken."""
    cells = [
        textwrap.wrap(str(cell), width, break_on_hyphens=False) or [""]
        for cell, width in zip(row, widths, strict=True)
    ]
    lines = zip_longest(*cells, fillvalue="")
    return [
        "  ".join(
            part.ljust(width) for part, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def _cell(value: Any) -> str:
    import pandas as pd  # whoever has a table has imported it; `ecgnb --help` has not

    if value is None or value is pd.NA or value != value:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else printable(str(value))


def printable(text: str) -> str:
    r"""Return a text of unknown origin without line ends and control characters, which
    could command the terminal.

    >>> printable("conv1d\x1b[2J")
    'conv1d?[2J'
    """
    return "".join(
        sign if sign.isprintable() else "?" for sign in " ".join(text.split())
    )


def text_facts(facts: dict[str, Any], width: int | None = None) -> str:
    """Return names and values below each other, the values one under the other and
    broken at ``width`` columns.
    """
    left = max((len(name) for name in facts), default=0) + 2
    lines = []
    for name, value in facts.items():
        parts = [
            part
            for line in str(value).split("\n")
            for part in textwrap.wrap(
                line, max(width - left, 2 * _NARROWEST) if width else _NO_TERMINAL
            )
            or [""]
        ]
        lines += [
            f"{name if number == 0 else '':<{left}}{part}".rstrip()
            for number, part in enumerate(parts)
        ]
    return "\n".join(lines)


def filled(text: str, width: int) -> str:
    """Break the lines of a text at ``width`` columns, as everything printed here may
    hold what a file says.
    """
    return "\n".join(
        textwrap.fill(printable(line), width, break_on_hyphens=False)
        for line in text.split("\n")
    )


def html_table(
    table: pd.DataFrame, formatters: Mapping[str, Callable[[Any], str]] | None = None
) -> str:
    """Return a table for a notebook, without an index, its text to the left."""
    text = table.to_html(
        index=False,
        na_rep="",
        justify="left",
        escape=True,
        formatters=dict(formatters or {}),
    )
    return re.sub(
        "<(t[dh])>", r"<\1 style='text-align:left; white-space:nowrap'>", text
    )
