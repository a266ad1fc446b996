"""Reader of CSV files: a row of lead names, then one row of numbers per sample."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import (
    READERS,
    Reader,
    ReadRequest,
    explained_os_errors,
    mv_per_unit,
    resolve_fs,
    resolve_leads,
    resolve_units,
    resolve_window,
)
from ecgnb.data.readers.header_comments import parse_comments
from ecgnb.data.readers.numpy_arrays import array_to_mv
from ecgnb.data.readers.wfdb_header import decode
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12, normalise_lead

#: Headings of a time column, in lower case.
TIME_NAMES = ("time", "t", "seconds", "sec", "ms", "milliseconds", "elapsed time")
#: Columns of label tables; a table with one of them is not a signal, even when all its
#: cells are numbers.
LABEL_COLUMNS = frozenset(
    {
        "record",
        "record_id",
        "recording",
        "ecg_id",
        "label",
        "labels",
        "mapped_label",
        "filename",
    }
)

_SECONDS_PER_UNIT = {
    "s": 1.0,
    "sec": 1.0,
    "seconds": 1.0,
    "ms": 1e-3,
    "msec": 1e-3,
    "milliseconds": 1e-3,
}
_LONGEST_STEP_S = 0.2  # a larger step in a column without a unit is in milliseconds
_RATE_TOLERANCE = 5e-4  # times have few digits: rates this near to an integer are one

_HEADING = re.compile(r"^(.*?)[\s_]*[(\[](.+?)[)\]]$")  # "II (mV)", "Time [ms]"
_TIME_HEADING = re.compile(r"^(time|t)_(s|ms)$")
_COUNTERS = ("", "index", "sample", "sample #", "unnamed: 0")
_MISSING = ("", "nan", "na", "n/a", "null", "none", "-")
_FS_KEYS = (
    "fs",
    "sampling rate",
    "sampling_rate",
    "sample rate",
    "sampling frequency",
    "frequency",
)
_NUMBER = re.compile(r"\d+\.?\d*|\.\d+")
_PEEK_BYTES = 8192  # enough of a file to distinguish a signal from a table of labels


@READERS.register("csv")
class CsvReader(Reader):
    """CSV with commas, semicolons or tabs.

    The first row names the leads, optionally with units (``II (uV)``); a column in a
    unit that is not a voltage is dropped (flag ``dropped_signals``). A column ``time``
    or ``t`` in seconds or milliseconds gives the sampling rate; columns ``index`` and
    ``sample`` are ignored. Lines before that row that start with ``#`` may contain
    ``# fs: 500`` and ``# units: uV``. Empty cells are invalid samples.
    """

    suffixes = (".csv", ".tsv", ".txt")

    def read(self, path: Path, request: ReadRequest) -> Recording:
        """Read the file; a cell that is not a number is refused as ``text`` with its
        row and column.
        """
        comments, lines, first_row = _load(path)
        separator = sniff_separator(lines[0])
        cells = next(csv.reader(lines[:1], delimiter=separator))
        headings = [cell.strip(" '\"") for cell in cells]
        if all(map(is_number, headings)):
            if request.leads is None:
                raise ReadError(
                    "leads",
                    f"{path} has no row of lead names. Add one, or pass leads=[...].",
                )
            headings = list(request.leads)
        else:
            lines, first_row = lines[1:], first_row + 1
        columns = _columns(headings, path)
        metadata = parse_comments(comments)
        flags: tuple[str, ...] = ()
        if columns.dropped:
            metadata["dropped"] = columns.dropped
            flags = ("dropped_signals",)
        patient_id = metadata.pop("patient_id")
        table = _parse(lines, separator, headings, first_row, path)
        window = resolve_window(request, len(table), path)
        file_fs = _fs_of_comments(metadata["fields"])
        if file_fs is None and columns.time is not None and request.fs is None:
            file_fs = rate_of(table[:, columns.time], columns.time_unit, path)
        fs, fs_flags = resolve_fs(request, file_fs, path)
        n_leads = len(columns.names)
        leads, lead_flags = resolve_leads(request, columns.names, n_leads, path)
        file_units = columns.units or metadata["fields"].get("units")
        units, unit_flags = resolve_units(request, file_units)
        signal = table[window.start : window.stop, columns.leads].T
        return Recording(
            signal=array_to_mv(signal, units, path),
            fs=fs,
            leads=leads,
            record_id=request.record_id or path.stem,
            patient_id=patient_id,
            metadata=metadata,
            flags=fs_flags + lead_flags + unit_flags + flags,
        )

    def is_recording(self, path: Path) -> bool:
        """Return whether the first lines are samples, not a table of labels."""
        try:
            with open(path, "rb") as file:
                text = file.read(_PEEK_BYTES).decode("latin-1")
        except OSError:
            return True  # keep it, so that preparation rejects it with the reason
        lines = []
        for line in text.replace("\r", "\n").split("\n"):
            if line.strip() and not line.lstrip().startswith("#"):
                lines.append(line)
        if len(text) == _PEEK_BYTES:
            lines = lines[:-1]  # the last one is cut in the middle
        if not lines:
            return False
        separator = sniff_separator(lines[0])
        headings = _split_cells(lines[0], separator)
        if LABEL_COLUMNS & {heading.lower() for heading in headings}:
            return False
        for heading in headings:
            name, _ = split_heading(heading)
            if normalise_lead(name) in STANDARD_12:
                return True  # text among the samples is for preparation to report
        for line in lines[1:]:
            texts = list(filter(None, _split_cells(line, separator)))
            if not texts or not all(map(is_number, texts)):
                return False
        return len(lines) > 1


@dataclass(frozen=True)
class _Columns:
    """Meaning of the columns: indices and names of the leads, and the time column."""

    leads: list[int]
    names: list[str]
    units: str | None
    time: int | None
    time_unit: str
    dropped: list[str]


def _load(path: Path) -> tuple[list[str], list[str], int]:
    """Return the comments, the lines from the row of names on, and the number of that
    row in the file (from 1).
    """
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


def sniff_separator(line: str) -> str:
    """Return the most frequent of comma, semicolon and tab in a line, else the comma.

    >>> sniff_separator("I;II;III, left")
    ';'
    """
    return max(",;\t", key=line.count)


def _split_cells(line: str, separator: str) -> list[str]:
    return [cell.strip(" \t\"'") for cell in line.split(separator)]


def is_number(text: str) -> bool:
    """Return whether `float` accepts a text."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def split_heading(heading: str) -> tuple[str, str]:
    """Split ``"II (mV)"`` into name and unit; the unit is empty where there is none."""
    match = _TIME_HEADING.match(heading.lower()) or _HEADING.match(heading)
    return (match[1].strip(), match[2].strip()) if match else (heading, "")


def _columns(headings: Sequence[str], path: Path) -> _Columns:
    time: int | None = None
    time_unit = ""
    leads, names, dropped = [], [], []
    units: dict[float | None, str] = {}  # by millivolts: "uV" and "µV" are one unit
    for index, heading in enumerate(headings):
        name, unit = split_heading(heading)
        if time is None and name.lower() in TIME_NAMES:
            time, time_unit = index, unit or name
        elif name.lower() in _COUNTERS:
            continue
        elif unit and mv_per_unit(unit) is None:
            dropped.append(heading)
        else:
            leads.append(index)
            names.append(name)
            if unit:
                units[mv_per_unit(unit)] = unit
    if not leads:
        raise ReadError(
            "leads",
            f"{path} has no column of a lead in mV, only {', '.join(headings)}.",
        )
    if len(units) > 1:
        raise ReadError(
            "units",
            f"{path} has leads in {' and '.join(units.values())}. "
            "Convert them to one unit.",
        )
    lead_unit = next(iter(units.values()), None)
    return _Columns(leads, names, lead_unit, time, time_unit, dropped)


def _fs_of_comments(fields: dict[str, str]) -> float | None:
    text = next((fields[key] for key in _FS_KEYS if key in fields), "")
    match = _NUMBER.match(text)
    return float(match[0]) if match else None


def rate_of(times: np.ndarray, unit: str, path: Path) -> float:
    """Return the sampling rate in Hz of evenly spaced times.

    Args:
        times: ``[n_samples]`` in ``unit``.
        unit: ``"s"``, ``"ms"`` or one of their long names; otherwise the size of the
            steps decides.
        path: the file, for the message.

    Raises:
        ReadError: ``time``, when times are missing, do not increase, or leave gaps.

    >>> rate_of(np.arange(100) / 500, "s", Path("a.csv"))
    500.0
    """
    steps = np.diff(times)
    increasing = len(steps) > 0 and (steps >= 0).all() and times[-1] > times[0]
    if not increasing or not np.isfinite(steps).all():
        raise ReadError(
            "time",
            f"The times in {path} do not rise. Correct that column, or pass fs= in Hz.",
        )
    step = (times[-1] - times[0]) / len(steps)
    deviations = np.abs(steps - step)
    if deviations.max() > 0.5 * step + _resolution(times):
        worst = int(deviations.argmax())
        raise ReadError(
            "time",
            f"The times in {path} jump from {times[worst]:g} to {times[worst + 1]:g}. "
            "Split the file there.",
        )
    seconds = _SECONDS_PER_UNIT.get(unit.lower())
    if seconds is None:
        seconds = 1.0 if step < _LONGEST_STEP_S else 1e-3
    fs = float(1.0 / (step * seconds))
    nearest = float(round(fs))
    return nearest if abs(fs - nearest) <= _RATE_TOLERANCE * fs else fs


def _resolution(times: np.ndarray) -> float:
    """Return the last decimal digit in which the times are written, 0 below 1e-5."""
    for decimals in range(6):
        if np.allclose(times, times.round(decimals), rtol=0, atol=1e-9):
            return float(10.0**-decimals)
    return 0.0


def _parse(
    lines: Sequence[str],
    separator: str,
    headings: Sequence[str],
    first_row: int,
    path: Path,
) -> np.ndarray:
    """Return float64 ``[n_samples, n_columns]``."""
    filled = [line for line in lines if line.strip()]
    if not filled:
        return np.empty((0, len(headings)))
    with contextlib.suppress(ValueError, OverflowError):
        table = np.loadtxt(
            filled,
            delimiter=separator,
            comments=None,
            quotechar='"',
            ndmin=2,
        )
        if table.shape[1] == len(headings):
            return table
    # slower, but it allows empty cells and names the cell that is not a number
    rows = []
    for number, line in enumerate(lines, start=first_row):
        if not line.strip():
            continue
        cells = _split_cells(line, separator)
        if len(cells) != len(headings):
            raise ReadError(
                "text",
                f"{path} has {len(cells)} cells in row {number}, "
                f"but {len(headings)} columns. Correct that row.",
            )
        row = []
        for cell, heading in zip(cells, headings, strict=True):
            row.append(_cell(cell, number, heading, path))
        rows.append(row)
    return np.array(rows, dtype=np.float64)


def _cell(text: str, row: int, heading: str, path: Path) -> float:
    if text.lower() in _MISSING:
        return float("nan")
    try:
        return float(text)
    except ValueError as error:
        raise ReadError(
            "text",
            f"{path} has {text[:40]!r} in row {row}, column {heading!r}, "
            "where a number should be.",
        ) from error
