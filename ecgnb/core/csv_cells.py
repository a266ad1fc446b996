"""Cells of CSV files that a spreadsheet would execute as a formula: escape, restore.

A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line end gets an
apostrophe in front, as OWASP recommends ("CSV Injection"); spreadsheets show it as
text. Signed numbers stay as they are. Reading removes the apostrophe again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: Beginnings of formulas, also in full width. An apostrophe in front of one counts, so
#: that restoring is exact whatever the text was.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff0b\uff0d\uff1d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def escape_cell(value: Any) -> Any:
    """Return a text as a cell that no spreadsheet executes; other values as they are.

    >>> [escape_cell(text) for text in ("=1+1", "'=1+1", "-3.5", "I")]
    ["'=1+1", "''=1+1", '-3.5', 'I']
    """
    if not isinstance(value, str) or not _FORMULA.match(value):
        return value
    return value if _NUMBER.fullmatch(value) else f"'{value}"


def restore_cell(value: Any) -> Any:
    """Return the text that `escape_cell` escaped.

    >>> [restore_cell(text) for text in ("'=1+1", "'I'", 2)]
    ['=1+1', "'I'", 2]
    """
    is_escaped = isinstance(value, str) and value.startswith("'")
    return value[1:] if is_escaped and _FORMULA.match(value) else value


def escape_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Escape the text cells and the column names of a table."""
    return _map_text(table, escape_cell)


def restore_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Restore the text cells and the column names of a table that was escaped."""
    return _map_text(table, restore_cell)


def _map_text(table: pd.DataFrame, function: Any) -> pd.DataFrame:
    from pandas.api.types import is_numeric_dtype

    changed = table.copy(deep=False)
    for position, dtype in enumerate(table.dtypes):  # names may occur twice
        if not is_numeric_dtype(dtype):
            column: Any = table.iloc[:, position].astype(object)
            changed.isetitem(position, column.map(function, na_action="ignore"))
    names = [function(name) for name in table.columns]
    return changed.set_axis(names, axis="columns")
