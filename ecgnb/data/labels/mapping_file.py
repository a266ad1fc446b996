"""Label files: read and write CSV tables of record, label, data set and patient."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ecgnb.core.errors import LabelError, first_few
from ecgnb.core.files import write_csv
from ecgnb.core.progress import say
from ecgnb.data.cell_text import is_missing, patient_ids, plain_text
from ecgnb.data.labels.label_cells import UNKNOWN, LabelColumn, join_labels, read_labels
from ecgnb.data.labels.label_table import LabelTable

MAPPING_COLUMNS = ["dataset", "record_id", "mapped_label"]
#: Optional column of a label file.
PATIENT = "patient_id"

#: Cells of one-hot columns, in lower case.
_YES = frozenset({"1", "1.0", "true", "t", "yes", "y", "x"})
_NO = frozenset({"0", "0.0", "false", "f", "no", "n"})
#: Names by which record columns often go, for a hint.
_RECORD_NAMES = ("record", "recording", "filename", "file", "file_name", "name", "id")
_SHORTENED = re.compile(r"\d([.,]\d+)?[eE]\+\d+")  # 1.2E+10: its last digits are lost


@dataclass(frozen=True)
class LabelColumns:
    """Which columns of a label file have which meaning; "" and () are the defaults.

    Attributes:
        record: names of the recordings; default ``record_id``.
        label: labels; default ``mapped_label``.
        patient: patients; default ``patient_id``, which may be absent.
        one_hot: one column per class, of 0 and 1, in place of ``label``.
    """

    record: str = ""
    label: str = ""
    patient: str = ""
    one_hot: tuple[str, ...] = ()


def read_mapping(
    path: str | Path,
    columns: LabelColumns | None = None,
    classes: Sequence[str] = (),
) -> pd.DataFrame:
    """Read a label file with the columns ``record_id`` and ``mapped_label``.

    The encoding is UTF-8, UTF-16 or Latin-1, the separator a comma, semicolon or tab.
    How a cell of labels is read: `ecgnb.data.labels.label_cells`. With a column
    ``patient_id`` the recordings of a patient stay in one part of a split. A column
    ``dataset`` selects the rows of the data set that is used. Further columns are
    ignored.

    Args:
        path: the file.
        columns: which columns to read, where they have other names.
        classes: names that are classes as they stand (LABEL_ORDER), such as "None".

    Returns:
        ``dataset, record_id, mapped_label``, and ``patient_id`` where the file has it,
        as text. Several labels are joined with ``|``; a label is ``[]`` for none of the
        classes, "" where it is unknown.

    Raises:
        LabelError: the file is missing or no such table, a column is there twice, a row
            has no ``record_id``, or a label may be one or several.
    """
    columns = columns or LabelColumns()
    table = LabelTable(Path(path))
    record = _record_column(table, columns)
    cells = table.cells[record].map(plain_text)
    _check_names(table, cells)
    dataset = table.column("dataset")
    mapping = pd.DataFrame({"record_id": cells})
    mapping.insert(0, "dataset", "")
    if dataset is not None:
        mapping["dataset"] = table.cells[dataset].map(plain_text)
    if columns.one_hot:
        mapping["mapped_label"] = _one_hot_labels(table, columns.one_hot)
    else:
        label = _label_column(table, columns, record)
        labels = read_labels(table.cells[label].tolist(), classes)
        mapping["mapped_label"] = labels.labels
        _describe(labels, table.path)
    patient = table.column(PATIENT)
    if columns.patient:
        patient = table.required_column(columns.patient, "PATIENT_COLUMN")
    if patient is not None:
        mapping[PATIENT] = patient_ids(table.cells[patient])
    return mapping.astype("str").reset_index(drop=True)


def _record_column(table: LabelTable, columns: LabelColumns) -> int:
    if columns.record:
        return table.required_column(columns.record, "RECORD_COLUMN")
    number = table.column("record_id")
    if number is None:
        likely = [name for name in table.names if name.lower() in _RECORD_NAMES]
        example = repr(likely[0]) if likely else "..."
        raise LabelError(
            f"The label file {table.path} has no column record_id; its columns are "
            f"{table.listed_names}. It needs record_id and mapped_label; name another "
            f"column of recordings with RECORD_COLUMN={example}. The first line names "
            "the columns."
        )
    return number


def _label_column(table: LabelTable, columns: LabelColumns, record: int) -> int:
    if columns.label:
        return table.required_column(columns.label, "LABEL_COLUMN")
    number = table.column("mapped_label")
    if number is None:
        one_hot = []
        for column, name in enumerate(table.names):
            values = set(table.cells[column].str.strip().str.lower())
            if column != record and values & _YES and values <= _YES | _NO:
                one_hot.append(name)
        advice = "name another column of labels with LABEL_COLUMN."
        if one_hot:
            advice = f"its columns of 0 and 1 are read with ONE_HOT_COLUMNS={one_hot}."
        raise LabelError(
            f"The label file {table.path} has no column mapped_label; its columns are "
            f"{table.listed_names}. It needs record_id and mapped_label; {advice}"
        )
    return number


def _check_names(table: LabelTable, names: pd.Series) -> None:
    nameless = names.index[names == ""].tolist()
    if nameless:
        raise LabelError(
            f"The label file {table.path} has {len(nameless)} rows without a "
            f"record_id: rows {first_few(nameless)}. Name the recordings there, or "
            "remove the rows."
        )
    is_shortened = names.map(lambda name: bool(_SHORTENED.fullmatch(name)))
    shortened = names[is_shortened]
    if len(shortened):
        raise LabelError(
            f"The label file {table.path} names recordings "
            f"{first_few(shortened.tolist())}: a spreadsheet shortened these numbers, "
            "and their last digits are lost. Format that column as text before the "
            "names are pasted, and save it again."
        )


def _one_hot_labels(table: LabelTable, one_hot: Sequence[str]) -> list[str]:
    """Return the classes of each row from columns of 0 and 1.

    An empty cell is unknown, and so is the label of its row; but in a table that only
    marks what applies (no 0 anywhere), it is a no.
    """
    columns = [table.required_column(name, "ONE_HOT_COLUMNS") for name in one_hot]
    texts = table.cells[columns].apply(lambda column: column.str.strip().str.lower())
    is_yes = texts.isin(_YES).to_numpy()  # [n_rows, n_classes]
    is_no = texts.isin(_NO).to_numpy()
    is_empty = texts.map(is_missing).to_numpy()
    wrong = np.argwhere(~(is_yes | is_no | is_empty))
    if len(wrong):
        row, column = wrong[0]
        raise LabelError(
            f"The label file {table.path} has {texts.iat[row, column]!r} in row "
            f"{texts.index[row]}, column {one_hot[column]!r}. Columns of "
            "ONE_HOT_COLUMNS need 0 or 1 (or true, false)."
        )
    is_unknown = is_empty.any(axis=1) & is_no.any()
    labels = []
    for row, unknown in zip(is_yes, is_unknown, strict=True):
        names = [name for name, yes in zip(one_hot, row, strict=True) if yes]
        labels.append(UNKNOWN if unknown else join_labels(names))
    return labels


def _describe(labels: LabelColumn, path: Path) -> None:
    """Print what in the labels could have been meant otherwise."""
    if labels.missing_words:
        words = [f"{word} ({count})" for word, count in labels.missing_words.items()]
        say(
            f"{path.name}: {first_few(words)} is no label; such recordings are left "
            "out. If it is a class, name it in LABEL_ORDER."
        )
    if labels.with_comma:
        say(
            f"{path.name}: {first_few(list(map(repr, labels.with_comma)))} contains a "
            "comma and is one label. Join several labels with '|'."
        )
    if labels.merged:
        say(
            f"{path.name}: {first_few(labels.merged)} are one class. To keep them "
            "apart, name both in LABEL_ORDER."
        )


def write_mapping(path: str | Path, manifest: pd.DataFrame) -> None:
    """Write the labels of a manifest as a label file; unknown ones are empty cells."""
    write_csv(path, as_mapping(manifest))


def as_mapping(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the labels of a manifest as the table that `read_mapping` returns."""
    table = manifest[["dataset", "record_id", "label"]]
    return table.rename(columns={"label": "mapped_label"}).reset_index(drop=True)
