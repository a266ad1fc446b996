"""HTML report: text, tables and figures in one self-contained file (jinja2)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure
from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype

from ecgnb.core.files import write_text
from ecgnb.figures.style import png_bytes

#: Rows of a table that are written; a note below a longer table counts them.
MAX_ROWS = 500
#: Dots per inch of embedded figures: sharp on screens of usual density, small enough to
#: send.
DPI = 144
#: What is written where there is no value: an en dash.
MISSING = "\u2013"


@dataclass(frozen=True)
class Section:
    """A chapter of a report. All text is escaped, never interpreted as HTML.

    Attributes:
        title: heading, and entry in the table of contents.
        text: paragraphs, separated by empty lines.
        tables: pairs of caption and table; the first column names the row, the index is
            not shown.
        figures: pairs of caption and figure. The caption is the alternative text too,
            so it should describe what there is to see.
    """

    title: str
    text: str = ""
    tables: Sequence[tuple[str, pd.DataFrame]] = ()
    figures: Sequence[tuple[str, Figure]] = ()


def write_report(
    path: str | Path,
    title: str,
    summary: Mapping[str, Any],
    sections: Sequence[Section],
    footer: str = "",
) -> Path:
    """Write a report as one HTML file, atomically.

    Args:
        path: the file.
        title: title of the report.
        summary: the few facts at its top, name to value.
        sections: its chapters.
        footer: paragraphs at its end, such as how it was made and what it must not be
            used for.

    Returns:
        The file.
    """
    environment = Environment(
        loader=PackageLoader("ecgnb.figures", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        value=format_value,
        cells=format_table,
        numeric=numeric_columns,
        png=png_base64,
    )
    html = environment.get_template("report.html").render(
        title=title,
        summary=summary,
        sections=sections,
        footer=footer,
        max_rows=MAX_ROWS,
    )
    write_text(path, html)
    return Path(path)


def png_base64(figure: Figure) -> str:
    """Return the figure as a base64-encoded PNG image."""
    return base64.b64encode(png_bytes(figure, DPI)).decode("ascii")


def numeric_columns(table: pd.DataFrame) -> list[bool]:
    """Return which columns contain numbers; the template aligns them to the right."""
    return [
        is_numeric_dtype(dtype) and not is_bool_dtype(dtype) for dtype in table.dtypes
    ]


def format_table(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return the first `MAX_ROWS` rows of a table as text."""
    columns = [format_column(column) for _, column in table.head(MAX_ROWS).items()]
    return list(zip(*columns, strict=True))


def format_column(values: pd.Series) -> list[str]:
    """Return a column as text; fractions of ordinary size get three decimals, so that
    their decimal points are aligned.
    """
    if is_float_dtype(values.dtype):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        sizes = np.abs(numbers[np.isfinite(numbers) & (numbers != 0)])
        number_format = ""
        if sizes.size and (sizes == sizes.round()).all() and sizes.max() < 1e15:
            number_format = ",.0f"  # counts, as floats because one is missing
        elif sizes.size and sizes.min() >= 5e-4 and sizes.max() < 1000:
            number_format = ".3f"
        if number_format:
            texts = pd.Series(numbers).map(f"{{:{number_format}}}".format)
            return texts.mask(np.isnan(numbers), MISSING).tolist()
    return [format_value(value) for value in values]


def format_value(value: Any) -> str:
    """Return a value as a report shows it: four significant digits, thousands
    separated, a dash for a missing one.

    >>> [format_value(value) for value in (0.123456, 12345, 1234.5, 2e-5, True)]
    ['0.1235', '12,345', '1,234', '2e-05', 'yes']
    >>> format_value(("a", "b"))
    'a, b'
    """
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {format_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return ", ".join(map(format_value, value))
    if pd.isna(value):
        return MISSING
    if isinstance(value, float | np.floating):
        large = 1000 <= abs(float(value)) < 1e15
        return f"{value:,.0f}" if large else f"{value:.4g}"
    return str(value)
