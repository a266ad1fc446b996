"""A report in one HTML file: text, tables and figures, with nothing to load from
elsewhere.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files as package_files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecgnb.core.errors import EcgnbError
from ecgnb.core.files import write_text
from ecgnb.figures.style import png_bytes

#: Rows of a table that are written out; the note below a longer table tells how many
#: there are.
MAX_ROWS = 500
#: Dots per inch of embedded figures: sharp on screens of usual density, small enough to
#: send.
DPI = 144
#: What stands where there is no value: an en dash.
MISSING = "\u2013"
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Section:
    """A chapter of a report. Every text is written as it is, never taken for HTML.

    Attributes:
        title: heading, and entry in the table of contents.
        text: paragraphs, separated by empty lines.
        tables: pairs of caption and table; the first column names the row, the index is
            not shown.
        figures: pairs of caption and figure, or PNG file. The caption is the
            alternative text too, so it should say what there is to see.
    """

    title: str
    text: str = ""
    tables: Sequence[tuple[str, pd.DataFrame]] = field(default_factory=tuple)
    figures: Sequence[tuple[str, Figure | Path | str]] = field(default_factory=tuple)


def write_report(
    path: str | Path,
    title: str,
    summary: Mapping[str, Any],
    sections: Sequence[Section],
    footer: str = "",
) -> Path:
    """Write a report as one HTML file, whole or not at all.

    Args:
        path: the file.
        title: title of the report.
        summary: the few facts at its top, name to value.
        sections: its chapters.
        footer: paragraphs at its end, such as how it was made and what it must not be
            used for.

    Returns:
        The file.

    Raises:
        EcgnbError: a figure's file is missing or no PNG.
    """
    package = package_files("ecgnb.figures")
    names = [f"section-{number}" for number in range(1, len(sections) + 1)]
    contents = [
        f'<li><a href="#{name}">{escape(section.title)}</a></li>'
        for name, section in zip(names, sections, strict=True)
    ]
    html = Template(
        package.joinpath("report.html").read_text(encoding="utf-8")
    ).substitute(
        title=escape(title),
        style=package.joinpath("report.css").read_text(encoding="utf-8").strip(),
        summary=_summary(summary),
        contents="\n".join(contents),
        sections="\n".join(
            _section(name, section)
            for name, section in zip(names, sections, strict=True)
        ),
        footer=_paragraphs(footer),
    )
    path = Path(path)
    write_text(path, html)
    return path


def _summary(facts: Mapping[str, Any]) -> str:
    if not facts:
        return ""
    cards = [
        f"<div><dt>{escape(str(k))}</dt><dd>{escape(format_value(v))}</dd></div>"
        for k, v in facts.items()
    ]
    return '<dl class="summary">\n' + "\n".join(cards) + "\n</dl>"


def _section(name: str, section: Section) -> str:
    parts = [f'<section id="{name}" aria-labelledby="{name}-title">']
    parts.append(f'<h2 id="{name}-title">{escape(section.title)}</h2>')
    parts += [_paragraphs(section.text)] if section.text.strip() else []
    parts += [_table(caption, table) for caption, table in section.tables]
    parts += [_figure(caption, figure) for caption, figure in section.figures]
    return "\n".join([*parts, "</section>"])


def _paragraphs(text: str) -> str:
    blocks = [block.strip() for block in text.replace("\r\n", "\n").split("\n\n")]
    return "\n".join(
        f"<p>{escape(block).replace(chr(10), '<br>')}</p>" for block in blocks if block
    )


def _table(caption: str, table: pd.DataFrame) -> str:
    numeric = [
        pd.api.types.is_numeric_dtype(dtype) and not _is_bool(dtype)
        for dtype in table.dtypes
    ]
    heads = "".join(
        f'<th scope="col"{_number(is_number)}>{escape(str(column))}</th>'
        for column, is_number in zip(table.columns, numeric, strict=True)
    )
    columns = [_column(table.iloc[:MAX_ROWS, k]) for k in range(table.shape[1])]
    rows = [
        "<tr>" + "".join(map(_cell, row, numeric, range(len(row)))) + "</tr>"
        for row in zip(*columns, strict=True)
    ]
    note = ""
    if len(table) > MAX_ROWS:
        note = f'\n<p class="note">The first {MAX_ROWS:,} of {len(table):,} rows.</p>'
    elif table.empty:
        note = '\n<p class="note">No rows.</p>'
    # A region that can be scrolled must be reachable by keyboard and have a name.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">\n<table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + f"\n</tbody>\n</table>{note}\n</div>"
    )


def _column(values: pd.Series) -> list[str]:
    """Return a column as text; fractions of ordinary size get three decimals each, so
    that their points line up.
    """
    if pd.api.types.is_float_dtype(values.dtype):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        size = np.abs(numbers[np.isfinite(numbers) & (numbers != 0)])
        if (
            size.size and (size == size.round()).all() and size.max() < 1e15
        ):  # counts, with a gap somewhere
            return [
                MISSING if np.isnan(number) else f"{number:,.0f}" for number in numbers
            ]
        if size.size and size.min() >= 5e-4 and size.max() < 1000:
            return [
                MISSING if np.isnan(number) else f"{number:.3f}" for number in numbers
            ]
    return [format_value(value) for value in values]


def _is_bool(dtype: Any) -> bool:
    return bool(pd.api.types.is_bool_dtype(dtype))


def _number(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _cell(text: str, is_number: bool, column: int) -> str:
    kind = 'th scope="row"' if column == 0 else "td"
    return f"<{kind}{_number(is_number)}>{escape(text)}</{kind.split()[0]}>"


def format_value(value: Any) -> str:
    """Return a value as a report shows it: four digits that count, thousands apart, a
    dash for what is not there.

    >>> [format_value(value) for value in (0.123456, 12345, 1234.5, 2e-5, True, ("a", "b"))]
    ['0.1235', '12,345', '1,234', '2e-05', 'yes', 'a, b']
    """
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(format_value(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {format_value(item)}" for key, item in value.items())
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return MISSING
    if isinstance(value, float | np.floating):
        number = float(value)
        return f"{number:,.0f}" if 1000 <= abs(number) < 1e15 else f"{number:.4g}"
    return str(value)


def _figure(caption: str, figure: Figure | Path | str) -> str:
    image = (
        png_bytes(figure, DPI)
        if isinstance(figure, Figure)
        else _read_png(Path(figure))
    )
    width, height = _size(image)
    data = base64.b64encode(image).decode("ascii")
    words = escape(caption)
    return (
        f'<figure>\n<img src="data:image/png;base64,{data}" alt="{words}" width="{width}" height="{height}">\n'
        f"<figcaption>{words}</figcaption>\n</figure>"
    )


def _size(image: bytes) -> tuple[int, int]:
    """Return width and height in CSS pixels (96 an inch), so that a figure has its own
    size whatever its resolution.

    PNG specification, third edition: IHDR holds the size in pixels, pHYs the pixels a
    metre.
    """
    width, height = struct.unpack(">II", image[16:24])
    place = image.find(b"pHYs", 0, image.find(b"IDAT"))
    scale = (
        96 / 0.0254 / struct.unpack(">I", image[place + 4 : place + 8])[0]
        if place > 0
        else 1.0
    )
    return max(1, round(width * scale)), max(1, round(height * scale))


def _read_png(path: Path) -> bytes:
    try:
        image = path.read_bytes()
    except OSError as error:
        raise EcgnbError(
            f"The figure {path} cannot be read ({error}). Draw it again, then write the report."
        ) from error
    if not image.startswith(_PNG) or len(image) < 24:
        raise EcgnbError(
            f"The figure {path} is no PNG file. Give a matplotlib figure or the path of a PNG."
        )
    return image
