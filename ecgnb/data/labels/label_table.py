"""Read a label file as a table of text: encodings, separators, preambles, columns."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pandas as pd

from ecgnb.core.csv_cells import restore_cell, restore_cells
from ecgnb.core.errors import LabelError, first_few
from ecgnb.core.registry import did_you_mean
from ecgnb.data.readers.csv_text import sniff_separator
from ecgnb.data.readers.wfdb_header import decode

_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
#: First bytes of files that are no text, with their names.
_NO_TEXT = {
    b"PK\x03\x04": "an Excel or LibreOffice workbook (or another zip file)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "compressed (gzip)",
    b"PAR1": "a Parquet file",
}
_SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # first line of Excel's CSV


class LabelTable:
    """Rows of a label file as text.

    Attributes:
        path: the file.
        names: names of the columns, as written.
        cells: a column per name, numbered from 0, as two may share a name; its index is
            the number of each row in the file, counted from 1.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        text = _read_text(path)
        lines, first, separator = _without_preamble(text)
        header = lines[first] if first < len(lines) else ""
        separator = separator or sniff_separator(header)
        names = next(csv.reader([header], delimiter=separator), [])
        self.names = [restore_cell(name.strip()) for name in names]
        try:
            rows = pd.read_csv(
                io.StringIO("\n".join(lines[first:])),
                sep=separator,
                dtype="str",
                keep_default_na=False,  # "NA" is text
                index_col=False,  # a separator at the end of rows adds no index
            )
        except ValueError as error:
            if not any(self.names):
                problem = "has no column record_id: it is empty"
                advice = "It needs the columns record_id and mapped_label"
                raise self._error(problem, advice) from error
            problem = f"is no regular table: {str(error).strip()}"
            raise self._error(problem, "Correct that line") from error
        if len(rows.columns) != len(self.names):
            raise self._error("has a row of names in several lines", "Write it in one")
        # such as `build_mapping` wrote
        rows = restore_cells(rows).fillna("")
        self.cells = rows.set_axis(range(len(self.names)), axis=1)
        numbers = [index + 1 for index, line in enumerate(lines) if line.strip()]
        numbers = numbers[len(numbers) - len(rows) :]  # the last lines with text
        if len(rows) == sum(number > first + 1 for number in numbers):
            self.cells.index = pd.Index(numbers)

    def column(self, name: str) -> int | None:
        """Return the number of a column by its name, in any case; None for none.

        Raises:
            LabelError: there are two.
        """
        numbers = [number for number, text in enumerate(self.names) if text == name]
        if not numbers:
            key = name.strip().casefold()
            for number, text in enumerate(self.names):
                if text.casefold() == key:
                    numbers.append(number)
        if len(numbers) > 1:
            positions = " and ".join([str(number + 1) for number in numbers])
            raise self._error(
                f"has the column {name!r} more than once (columns {positions})",
                "Rename or remove one",
            )
        return numbers[0] if numbers else None

    def required_column(self, name: str, parameter: str) -> int:
        """Return the number of the column that a parameter names.

        Raises:
            LabelError: there is none of that name, or two.
        """
        number = self.column(name)
        if number is None:
            hint = did_you_mean(name, self.names)
            raise LabelError(
                f"The label file {self.path} has no column {name!r} ({parameter}), "
                f"only {self.listed_names}.{hint} Correct {parameter}."
            )
        return number

    @property
    def listed_names(self) -> str:
        """The names of the columns, for messages."""
        names = [name if name.isprintable() else repr(name) for name in self.names]
        return first_few([name[:40] or "''" for name in names], 12) or "none"

    def _error(self, problem: str, advice: str) -> LabelError:
        return LabelError(f"The label file {self.path} {problem}. {advice}.")


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabelError(
            f"The label file {path} cannot be opened: {error.strerror or error}."
        ) from error
    for mark, kind in _NO_TEXT.items():
        if content.startswith(mark):
            raise LabelError(
                f"The label file {path} is {kind}, not text. Save the table as CSV "
                "(in Excel: Save As, CSV UTF-8) and name that file with MAPPING_CSV."
            )
    if content.startswith(_UTF_16_MARKS):
        return content.decode("utf-16", errors="replace")
    return decode(content)


def _without_preamble(text: str) -> tuple[list[str], int, str]:
    """Return the lines, the index of the row of names, and the separator that Excel's
    line ``sep=;`` states ("" for none).
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    separator = ""
    for index, line in enumerate(lines):
        statement = _SEPARATOR_LINE.fullmatch(line.strip())
        if statement:
            separator = statement[1]
        elif line.strip() and not line.startswith("#"):
            return lines, index, separator
    return lines, len(lines), separator
