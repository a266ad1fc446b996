"""PTB-XL: 21,799 12-lead recordings of 10 s, 71 SCP-ECG statements, ten folds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from ecgnb.core.errors import LabelError
from ecgnb.data.catalog.base import CATALOG, Dataset, Query, Record, unify, with_unified
from ecgnb.data.catalog.dataset_files import anchor, own_table, read_table
from ecgnb.data.cell_text import is_missing
from ecgnb.data.signal.leads import STANDARD_12

#: Recordings of release 1.0.1 that are not in 1.0.3 (21,837 - 38 = 21,799), since they
#: are copies of others. The tables of older releases still list them.
WITHDRAWN = frozenset(
    {
        *(137, 139, 140, 141, 142, 143, 145, 456, 458, 459, 461, 462, 2506, 2511, 3795),
        *(3798, 3800, 3801, 3832, 5817, 7777, 7779, 7782, 9821, 9825, 9888, 11810),
        *(11814, 11815, 11817, 11838, 13791, 13793, 13796, 13797, 13799, 15742, 18150),
    }
)
#: The diagnostic superclasses in the order of the data set's paper.
SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")

_DURATION_S = 10
_NAN = re.compile(r"(?<=: )nan\b", re.IGNORECASE)
_COLUMNS = [
    "ecg_id",
    "patient_id",
    "scp_codes",
    "strat_fold",
    "filename_lr",
    "filename_hr",
]

_TABLE = own_table("scp_statements.csv").set_index("statement")
_STATEMENTS = _TABLE.to_dict("index")
_UNIFIED = {
    "AFIB": "AF",
    "CRBBB": "BBB",
    "CLBBB": "BBB",
    "IRBBB": "BBB",
    "ILBBB": "BBB",
    "NORM": "NORM",
}
# the superclass has 14 statements, by the region of the infarction
_UNIFIED |= dict.fromkeys(_TABLE.index[_TABLE["superclass"] == "MI"], "MI")


def _statements(kind: str) -> tuple[str, ...]:
    return tuple(_TABLE.index[_TABLE[kind] == "1"])


@CATALOG.register("ptbxl")
class PtbXl(Dataset):
    """PTB-XL, with the classes of ``scp_statements.csv`` in the order of that table.

    As in the authors' benchmark, a statement counts whatever its likelihood, and a
    superclass or subclass applies when one of its diagnostic statements does. With
    ``likelihood`` above 0, diagnostic statements below it do not count (0 means that
    none was stated); statements of form and rhythm carry no likelihood and always
    count. As there, a recording without a statement of the label set is left out; an
    empty cell of statements is one such recording.

    Unified labels: MI and NORM by superclass MI and statement NORM, AF by AFIB, BBB by
    CRBBB, CLBBB, IRBBB and ILBBB.

    PTB-XL, a large publicly available electrocardiography dataset. Wagner P, et al. Sci
    Data 2020;7:154. doi:10.1038/s41597-020-0495-6.

    Licence: CC BY 4.0.

    Checked against ``compute_label_aggregations`` and ``select_data`` of the authors'
    benchmark (github.com/helme/ecg_ptbxl_benchmarking, code/utils/utils.py): any
    likelihood counts, recordings without a label of the set are not selected, folds 9
    and 10 validate and test.
    """

    expects = "ptbxl_database.csv with the folders records100 or records500"
    download = "ptb-xl/1.0.3"
    signature = "ptbxl_database.csv"
    label_sets = with_unified(
        superclass=SUPERCLASSES,
        subclass=tuple(filter(None, _TABLE["subclass"].unique())),
        diagnostic=_statements("diagnostic"),
        form=_statements("form"),
        rhythm=_statements("rhythm"),
        all=tuple(_TABLE.index),
    )

    def records(self, root: Path, query: Query) -> Iterator[Record]:
        """Yield the recordings of ``ptbxl_database.csv`` that are there at 100 or 500
        Hz.
        """
        database = anchor(root, "ptbxl_database.csv", query.dataset)
        table = read_table(database, _COLUMNS)
        rows = table[_COLUMNS].itertuples(index=False)
        for row, cells in enumerate(rows, start=2):  # after the row of names
            ecg_id, patient, scp_codes, fold, low, high = cells
            number = _whole_number(ecg_id, "ecg_id", row, database)
            if number in WITHDRAWN:
                query.left_out["withdrawn"] += 1
                continue
            file = _header_and_fs(database.parent, low, high, query.target_fs)
            if file is None:
                query.left_out["absent"] += 1
                continue
            path, fs = file
            codes = _parse_codes(scp_codes, row, database)
            query.not_understood.update(codes.keys() - _STATEMENTS.keys())
            fold_number = None
            if not is_missing(fold):
                fold_number = _whole_number(fold, "strat_fold", row, database)
            yield Record(
                record_id=f"{number:05d}",
                path=path,
                labels=labels_of(codes, query.label_set, query.likelihood),
                patient_id=patient,
                fold=fold_number,
                fs=fs,
                n_samples=round(fs * _DURATION_S),
                leads=STANDARD_12,
            )


def _header_and_fs(
    folder: Path, low: str, high: str, target_fs: float | None
) -> tuple[Path, float] | None:
    """Return the header at 100 or 500 Hz: the lower rate where it suffices, the other
    one where a file is missing.
    """
    choices = [(high, 500.0), (low, 100.0)]
    if target_fs is not None and target_fs <= 100:
        choices.reverse()
    for name, fs in choices:
        path = folder / f"{name}.hea"
        if name and path.is_file() and path.with_suffix(".dat").is_file():
            return path, fs
    return None


def _whole_number(text: str, column: str, row: int, database: Path) -> int:
    try:
        number = float(text)
        if number != int(number) or number < 0:
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise LabelError(
            f"{database} has {text[:40]!r} in row {row}, column {column}, where a "
            "whole number should be. Fetch the file again."
        ) from error
    return int(number)


def _parse_codes(text: str, row: int, database: Path) -> dict[str, float]:
    """Return the likelihood (0-100) of each statement, 0 where none is stated."""
    if is_missing(text):
        return {}
    try:
        # pandas writes a missing likelihood as nan, which is no Python literal
        codes = dict(ast.literal_eval(_NAN.sub("0", text)))
        return {str(name).upper(): float(value or 0) for name, value in codes.items()}
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise LabelError(
            f"{database} has scp_codes {text[:60]!r} in row {row} that cannot be read. "
            "Fetch it again."
        ) from error


def labels_of(
    codes: dict[str, float], label_set: str, likelihood: float = 0.0
) -> tuple[str, ...]:
    """Return the labels of a recording from its statements and their likelihoods
    (0-100).

    >>> labels_of({"NORM": 80.0, "LVOLT": 0.0, "SR": 0.0}, "superclass")
    ('NORM',)
    >>> labels_of({"AMI": 35.0}, "superclass", likelihood=50)
    ()
    """
    known = [name for name in codes if name in _STATEMENTS]
    counted = []
    for name in known:
        # statements of form and rhythm carry no likelihood
        if _STATEMENTS[name]["diagnostic"] != "1" or codes[name] >= likelihood:
            counted.append(name)
    if label_set == "unified":
        labels = [_UNIFIED.get(name, "") for name in counted]
        return unify(labels, known=bool(known))
    if label_set in ("superclass", "subclass"):
        # only diagnostic statements have a class
        return tuple(filter(None, [_STATEMENTS[name][label_set] for name in counted]))
    return tuple(counted)
