"""Label files: read and write CSV tables of data set, record and label."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd

from ecgnb.core.errors import LabelError, first_few
from ecgnb.core.files import write_csv
from ecgnb.data.readers.csv_text import sniff_separator
from ecgnb.data.readers.wfdb_header import decode

MAPPING_COLUMNS = ["dataset", "record_id", "mapped_label"]
#: Optional column of a label file.
PATIENT = "patient_id"

_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_mapping(path: str | Path) -> pd.DataFrame:
    """Read a label file with the columns ``dataset, record_id, mapped_label``.

    Several labels of one recording are joined with ``|``. The encoding is UTF-8, UTF-16
    or Latin-1, the separator a comma, semicolon or tab. With the optional column
    ``patient_id`` the recordings of a patient stay in one part of a split; further
    columns are ignored.

    Returns:
        The three columns, and ``patient_id`` where the file has it, as text; rows
        without a label are dropped.

    Raises:
        LabelError: the file is missing or is no such table, or a row has no
            ``record_id``.
    """
    path = Path(path)
    text = _read_text(path)
    header = next(filter(str.strip, text.splitlines()), "")
    separator = sniff_separator(header)
    cells = next(csv.reader([header], delimiter=separator), [])
    names = [cell.strip().lower() for cell in cells]
    missing = [name for name in MAPPING_COLUMNS if name not in names]
    if missing:
        raise LabelError(
            f"The label file {path} has no column {' and no column '.join(missing)}; "
            f"its columns are {', '.join(names) or 'none'}. "
            f"It needs {', '.join(MAPPING_COLUMNS)}."
        )
    try:
        table = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            dtype="str",
            keep_default_na=False,  # "NA" is text
            index_col=False,  # a separator at the end of rows adds no index
        )
    except ValueError as error:
        raise LabelError(
            f"The label file {path} is no regular table: {str(error).strip()}. "
            "Correct that line."
        ) from error
    table.columns = pd.Index(names)
    columns = MAPPING_COLUMNS.copy()
    if PATIENT in names:
        columns.append(PATIENT)
    table = pd.DataFrame({name: table[name].fillna("").str.strip() for name in columns})
    nameless = np.flatnonzero(table["record_id"] == "")
    if len(nameless):
        rows = (nameless + 2).tolist()  # counted from 1, after the header
        raise LabelError(
            f"The label file {path} has {len(rows)} rows without a record_id: "
            f"rows {first_few(rows)}."
        )
    return table[table["mapped_label"] != ""].reset_index(drop=True)


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabelError(
            f"The label file {path} cannot be opened: {error.strerror or error}."
        ) from error
    if content.startswith(_UTF_16_MARKS):
        return content.decode("utf-16")
    return decode(content)


def write_mapping(path: str | Path, manifest: pd.DataFrame) -> None:
    """Write the labels of a manifest as a label file, without unlabelled recordings."""
    write_csv(path, as_mapping(manifest))


def as_mapping(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the labels of a manifest as the table that `read_mapping` returns."""
    columns = ["dataset", "record_id", "label"]
    labelled = manifest.loc[manifest["label"] != "", columns]
    return labelled.rename(columns={"label": "mapped_label"})
