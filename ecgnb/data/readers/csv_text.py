"""CSV files: a row of lead names, then a row of numbers for each sample."""

from __future__ import annotations

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
from ecgnb.data.readers.numpy_arrays import array_to_mv
from ecgnb.data.readers.wfdb_header import decode, parse_comments
from ecgnb.data.recording import Recording

#: Headings of a column of times, in lower case.
TIME_NAMES = ("time", "t", "seconds", "sec", "ms", "milliseconds", "elapsed time")

_IN_SECONDS = {
    "s": 1.0,
    "sec": 1.0,
    "seconds": 1.0,
    "ms": 1e-3,
    "msec": 1e-3,
    "milliseconds": 1e-3,
}
_LONGEST_STEP_S = (
    0.2  # a step above this, in a column without a unit, is in milliseconds
)
_ROUND_WITHIN = 5e-4  # times are written with few digits: a rate this near to a whole number is that number


def rate_of(times: np.ndarray, unit: str, path: Path) -> float:
    """Return the sampling rate in Hz of evenly spaced times.

    Args:
        times: ``[n_samples]`` in ``unit``.
        unit: ``"s"``, ``"ms"`` or one of their long names; anything else leaves it to
            the size of the steps.
        path: the file, for the message.

    Raises:
        ReadError: ``time``, when times are missing, do not rise, or leave gaps.

    >>> rate_of(np.arange(100) / 500, "s", Path("a.csv"))
    500.0
    """
    steps = np.diff(times)
    if (
        len(steps) == 0
        or not np.isfinite(steps).all()
        or (steps < 0).any()
        or times[-1] <= times[0]
    ):
        raise ReadError(
            "time",
            f"The times in {path} do not rise. Mend that column, or pass fs= in Hz.",
        )
    step = (times[-1] - times[0]) / len(steps)
    if np.abs(steps - step).max() > 0.5 * step + _digit(times):
        worst = int(np.abs(steps - step).argmax())
        raise ReadError(
            "time",
            f"The times in {path} jump from {times[worst]:g} to {times[worst + 1]:g}. Split the file there.",
        )
    seconds = _IN_SECONDS.get(unit.lower())
    if seconds is None:
        seconds = 1.0 if step < _LONGEST_STEP_S else 1e-3
    fs = float(1.0 / (step * seconds))
    return float(round(fs)) if abs(fs - round(fs)) <= _ROUND_WITHIN * fs else fs


def _digit(times: np.ndarray) -> float:
    """Return the size of the last decimal digit that the times are written with, up to
    six decimals.
    """
    for decimals in range(6):
        if np.allclose(times, times.round(decimals), rtol=0, atol=1e-9):
            return float(10.0**-decimals)
    return 0.0


_HEADING = re.compile(r"^(.*?)[\s_]*[(\[](.+?)[)\]]$")  # "II (mV)", "Time [ms]"
_SUFFIXED_TIME = re.compile(r"^(time|t)_(s|ms)$")
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


@READERS.register("csv")
class CsvReader(Reader):
    """CSV with commas, semicolons or tabs.

    The first row names the leads, with units where one likes (``II (uV)``); a column in
    another unit than one of voltage is left out (flag ``dropped_signals``). A column
    called ``time`` or ``t`` in seconds or milliseconds gives the sampling rate; columns
    called ``index`` or ``sample`` are left out. Lines before that row that start with
    ``#`` may say ``# fs: 500`` and ``# units: uV``. Empty cells are invalid samples.
    """

    suffixes = (".csv", ".tsv", ".txt")

    def read(self, path: Path, request: ReadRequest) -> Recording:
        """Read the file; a cell that is no number is refused as ``text`` with its row
        and column.
        """
        comments, lines, first_row = _load(path)
        separator = max(",;\t", key=lines[0].count)
        headings = [
            cell.strip(" '\"")
            for cell in next(csv.reader(lines[:1], delimiter=separator))
        ]
        if all(is_number(heading) for heading in headings):
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
        if columns.dropped:
            metadata["dropped"] = columns.dropped
        patient_id = metadata.pop("patient_id")
        table = _parse(lines, separator, headings, first_row, path)
        window = resolve_window(request, len(table), path)
        stated = _stated_fs(metadata["fields"])
        if stated is None and columns.time is not None and request.fs is None:
            stated = rate_of(table[:, columns.time], columns.time_unit, path)
        fs, fs_flags = resolve_fs(request, stated, path)
        leads, lead_flags = resolve_leads(
            request, columns.names, len(columns.names), path
        )
        units, unit_flags = resolve_units(
            request, columns.units or metadata["fields"].get("units")
        )
        return Recording(
            signal=array_to_mv(
                table[window.start : window.stop, columns.leads].T, units, path
            ),
            fs=fs,
            leads=leads,
            record_id=request.record_id or path.stem,
            patient_id=patient_id,
            metadata=metadata,
            flags=fs_flags
            + lead_flags
            + unit_flags
            + (("dropped_signals",) if columns.dropped else ()),
        )


@dataclass(frozen=True)
class _Columns:
    """What the row of names says: which columns are leads, which one is the time."""

    leads: list[int]
    names: list[str]
    units: str | None
    time: int | None
    time_unit: str
    dropped: list[str]


def _columns(headings: Sequence[str], path: Path) -> _Columns:
    split = [split_heading(heading) for heading in headings]
    time = next(
        (index for index, (name, _) in enumerate(split) if name.lower() in TIME_NAMES),
        None,
    )
    others = [
        i
        for i, (name, _) in enumerate(split)
        if i != time and name.lower() not in _COUNTERS
    ]
    leads = [
        i for i in others if not split[i][1] or mv_per_unit(split[i][1]) is not None
    ]
    if not leads:
        raise ReadError(
            "leads",
            f"{path} has no column of a lead in mV, only {', '.join(headings)}.",
        )
    units = {mv_per_unit(split[i][1]): split[i][1] for i in leads if split[i][1]}
    if len(units) > 1:
        raise ReadError(
            "units",
            f"{path} has leads in {' and '.join(units.values())}. Bring them to one unit.",
        )
    return _Columns(
        leads=leads,
        names=[split[i][0] for i in leads],
        units=next(iter(units.values()), None),
        time=time,
        time_unit="" if time is None else split[time][1] or split[time][0],
        dropped=[headings[i] for i in others if i not in leads],
    )


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


def _parse(
    lines: Sequence[str],
    separator: str,
    headings: Sequence[str],
    first_row: int,
    path: Path,
) -> np.ndarray:
    """Return float64 ``[n_samples, n_columns]``; numpy's fast parser first, ours to say
    where it failed.
    """
    filled = [line for line in lines if line.strip()]
    if not filled:
        return np.empty((0, len(headings)))
    try:
        table = np.loadtxt(
            filled, delimiter=separator, comments=None, quotechar='"', ndmin=2
        )
    except (ValueError, OverflowError):
        table = None
    if table is not None and table.shape[1] == len(headings):
        return table
    return _parse_cells(lines, separator, headings, first_row, path)


def _parse_cells(
    lines: Sequence[str],
    separator: str,
    headings: Sequence[str],
    first_row: int,
    path: Path,
) -> np.ndarray:
    rows = []
    for number, line in enumerate(lines, start=first_row):
        if not line.strip():
            continue
        cells = [cell.strip(" \t\"'") for cell in line.split(separator)]
        if len(cells) != len(headings):
            raise ReadError(
                "text",
                f"{path} has {len(cells)} cells in row {number}, but {len(headings)} columns. Mend that row.",
            )
        rows.append(
            [
                _cell(cell, number, heading, path)
                for cell, heading in zip(cells, headings, strict=True)
            ]
        )
    return np.array(rows, dtype=np.float64)


def _cell(text: str, row: int, heading: str, path: Path) -> float:
    if text.lower() in _MISSING:
        return float("nan")
    try:
        return float(text)
    except ValueError as error:
        raise ReadError(
            "text",
            f"{path} has {text[:40]!r} in row {row}, column {heading!r}, where a number should be.",
        ) from error


def is_number(text: str) -> bool:
    """Tell whether a cell is a number, as `float` reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def split_heading(heading: str) -> tuple[str, str]:
    """Split ``"II (mV)"`` into name and unit; the unit is empty where none is given."""
    found = _SUFFIXED_TIME.match(heading.lower()) or _HEADING.match(heading)
    return (found[1].strip(), found[2].strip()) if found else (heading, "")


def _stated_fs(fields: dict[str, str]) -> float | None:
    text = next((fields[key] for key in _FS_KEYS if key in fields), "")
    found = _NUMBER.match(text)
    return float(found[0]) if found else None
