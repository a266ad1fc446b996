"""CSV files: a row of lead names, then a row of numbers for each sample."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgnb.data.readers.arrays import array_to_mv
from ecgnb.data.readers.base import (
    READERS,
    Reader,
    ReadRequest,
    explained_os_errors,
    resolve_fs,
    resolve_leads,
    resolve_units,
    resolve_window,
)
from ecgnb.data.readers.comments import parse_comments
from ecgnb.data.readers.time_axis import TIME_NAMES, rate_of
from ecgnb.data.readers.units import mv_per_unit
from ecgnb.data.readers.wfdb_header import decode
from ecgnb.data.recording import Recording
from ecgnb.errors import ReadError

_HEADING = re.compile(r"^(.*?)[\s_]*[(\[](.+?)[)\]]$")  # "II (mV)", "Time [ms]"
_SUFFIXED_TIME = re.compile(r"^(time|t)_(s|ms)$")
_COUNTERS = ("", "index", "sample", "sample #", "unnamed: 0")
_MISSING = ("", "nan", "na", "n/a", "null", "none", "-")
_FS_KEYS = ("fs", "sampling rate", "sampling_rate", "sample rate", "sampling frequency", "frequency")
_NUMBER = re.compile(r"\d+\.?\d*|\.\d+")


@READERS.register("csv")
class CsvReader(Reader):
    """CSV with commas, semicolons or tabs.

    The first row names the leads, with units where one likes (``II (uV)``). A column called ``time`` or ``t`` in
    seconds or milliseconds gives the sampling rate; columns called ``index`` or ``sample`` are left out. Lines before
    that row that start with ``#`` may say ``# fs: 500`` and ``# units: uV``. Empty cells are invalid samples.
    """

    suffixes = (".csv", ".tsv", ".txt")

    def read(self, path: Path, request: ReadRequest) -> Recording:
        """Read the file; a cell that is no number is refused as ``text`` with its row and column."""
        comments, lines, first_row = _load(path)
        separator = max(",;\t", key=lines[0].count)
        headings = [cell.strip().strip("'\"").strip() for cell in next(csv.reader(lines[:1], delimiter=separator))]
        if all(_is_number(heading) for heading in headings):
            if request.leads is None:
                raise ReadError("leads", f"{path} has no row of lead names. Add one, or pass leads=[...].")
            headings = list(request.leads)
        else:
            lines, first_row = lines[1:], first_row + 1
        table = _parse(lines, separator, headings, first_row, path)
        names, units = zip(*[_split_heading(heading) for heading in headings], strict=True)
        time = [index for index, name in enumerate(names) if name.lower() in TIME_NAMES]
        columns = [i for i, name in enumerate(names) if i not in time[:1] and name.lower() not in _COUNTERS]
        if not columns:
            raise ReadError("leads", f"{path} has no column of a lead, only {', '.join(headings)}.")
        metadata = parse_comments(comments)
        patient_id = metadata.pop("patient_id")
        window = resolve_window(request, len(table), path)
        stated = _stated_fs(metadata["fields"])
        if stated is None and time and request.fs is None:
            stated = rate_of(table[:, time[0]], units[time[0]] or names[time[0]], path)
        fs, fs_flags = resolve_fs(request, stated, path)
        leads, lead_flags = resolve_leads(request, [names[index] for index in columns], len(columns), path)
        unit, unit_flags = resolve_units(request, _stated_units([units[i] for i in columns], metadata, path))
        return Recording(
            signal=array_to_mv(table[window.start : window.stop, columns].T, unit, path),
            fs=fs,
            leads=leads,
            record_id=request.record_id or path.stem,
            patient_id=patient_id,
            metadata=metadata,
            flags=fs_flags + lead_flags + unit_flags,
        )


def _load(path: Path) -> tuple[list[str], list[str], int]:
    """Return the comments, the lines from the row of names on, and the number of that row in the file (from 1)."""
    with explained_os_errors(path):
        text = decode(path.read_bytes())
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    comments: list[str] = []
    for index, line in enumerate(lines):
        if line.lstrip().startswith("#"):
            comments.append(line.strip(" \t#"))
        elif line.strip():
            return comments, lines[index:], index + 1
    raise ReadError("empty", f"{path} has no rows. Fetch it again.")


def _parse(lines: Sequence[str], separator: str, headings: Sequence[str], first_row: int, path: Path) -> np.ndarray:
    """Return float64 ``[n_samples, n_columns]``; numpy's fast parser first, ours to say where it failed."""
    filled = [line for line in lines if line.strip()]
    if not filled:
        return np.empty((0, len(headings)))
    try:
        table = np.loadtxt(filled, delimiter=separator, comments=None, quotechar='"', ndmin=2)
    except (ValueError, OverflowError):
        table = None
    if table is not None and table.shape[1] == len(headings):
        return table
    return _parse_cells(lines, separator, headings, first_row, path)


def _parse_cells(
    lines: Sequence[str], separator: str, headings: Sequence[str], first_row: int, path: Path
) -> np.ndarray:
    rows = []
    for number, line in enumerate(lines, start=first_row):
        if not line.strip():
            continue
        cells = [cell.strip(" \t\"'") for cell in line.split(separator)]
        if len(cells) != len(headings):
            raise ReadError(
                "text", f"{path} has {len(cells)} cells in row {number}, but {len(headings)} columns. Mend that row."
            )
        rows.append([_cell(cell, number, heading, path) for cell, heading in zip(cells, headings, strict=True)])
    return np.array(rows, dtype=np.float64)


def _cell(text: str, row: int, heading: str, path: Path) -> float:
    if text.lower() in _MISSING:
        return float("nan")
    try:
        return float(text)
    except ValueError as error:
        raise ReadError(
            "text", f"{path} has {text[:40]!r} in row {row}, column {heading!r}, where a number should be."
        ) from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _split_heading(heading: str) -> tuple[str, str]:
    """Split ``"II (mV)"`` into name and unit; the unit is empty where none is given."""
    found = _SUFFIXED_TIME.match(heading.lower()) or _HEADING.match(heading)
    return (found[1].strip(), found[2].strip()) if found else (heading, "")


def _stated_fs(fields: dict[str, str]) -> float | None:
    text = next((fields[key] for key in _FS_KEYS if key in fields), "")
    found = _NUMBER.match(text)
    return float(found[0]) if found else None


def _stated_units(of_columns: Sequence[str], metadata: dict, path: Path) -> str | None:
    """Return the unit of all leads: that of the column headings, else of the comments."""
    stated = sorted({unit for unit in of_columns if mv_per_unit(unit) is not None})
    if len(stated) > 1:
        raise ReadError("units", f"{path} has leads in {' and '.join(stated)}. Bring them to one unit.")
    return stated[0] if stated else metadata["fields"].get("units") or metadata["fields"].get("unit")
