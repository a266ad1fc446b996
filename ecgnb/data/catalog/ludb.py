"""Lobachevsky University Database (LUDB): 12-lead recordings with P, QRS, T bounds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ecgnb.data.catalog.base import CATALOG, Query, unify, with_unified
from ecgnb.data.catalog.dataset_files import read_table, tables_beside
from ecgnb.data.catalog.wfdb_dataset import Comments, Table, WfdbDataset

_RHYTHMS = (
    "Sinus rhythm",
    "Sinus tachycardia",
    "Sinus bradycardia",
    "Sinus arrhythmia",
    "Irregular sinus rhythm",
    "Atrial fibrillation",
    "Atrial flutter",
)
_NORMAL = re.compile(
    r"sinus rhythm|electric axis of the heart: (normal|horizontal|vertical)"
)
_UNIFIED = {
    "MI": re.compile(r"stemi|scar formation"),
    "AF": re.compile(r"atrial fibrillation"),
    "BBB": re.compile(r"(in)?complete (left|right) bundle branch block"),
}


@CATALOG.register("ludb")
class Ludb(WfdbDataset):
    """LUDB: 200 recordings of 10 s, one per subject.

    Statements are those of the headers, for headers without any those of ``ludb.csv``.

    The default label set is the rhythm.

    Unified labels: MI by "STEMI" or "scar formation" (not by "undefined
    ischemia/scar/supp. NSTEMI", which leaves it open), AF by atrial fibrillation, BBB
    by any bundle branch block, NORM where sinus rhythm and a normal, horizontal or
    vertical axis are all that is stated, OTHER for the rest.

    Lobachevsky University Electrocardiography Database. Kalyakulina AI, et al. IEEE
    Access 2020;8:186181-186190. doi:10.1109/ACCESS.2020.3029211.

    Licence: ODC-By 1.0.

    Checked against the table of rhythms of the data set's page, as torch_ecg's loader
    quotes it (no official evaluation exists): sinus rhythm 143, tachycardia 4,
    bradycardia 25, arrhythmia 8, irregular 2, abnormal 19 (here by their names).
    """

    expects = "the folder data with WFDB records 1 to 200, and ludb.csv"
    download = "ludb/1.0.1"
    signature = "ludb.csv"
    label_sets = with_unified(rhythm=_RHYTHMS)
    pattern = re.compile(r"\d{1,3}")

    def table(self, root: Path) -> Table:
        """Return the statements of each record in ``ludb.csv``."""
        files = tables_beside(root, "ludb.csv")
        return read_ludb(files[0]) if files else {}

    def labels(
        self, record_id: str, comments: Comments, table: Table, query: Query
    ) -> Iterable[str]:
        """Return the rhythm, or the unified labels of all statements."""
        statements = header_statements(comments["comments"])
        statements = statements or table.get(record_id, [])
        if query.label_set == "unified":
            return unify(_unified(statements), known=bool(statements))
        # a rhythm may be specified after a comma: "Atrial flutter, typical"
        rhythms = {statement.partition(",")[0] for statement in statements}
        return [name for name in _RHYTHMS if name.lower() in rhythms]

    def patient(self, path: Path, comments: Comments, table: Table) -> str:
        """Return the record's own name: every subject was recorded once."""
        return path.stem


def read_ludb(path: Path) -> dict[str, list[str]]:
    """Return the statements of each record in ``ludb.csv``, in lower case.

    A cell holds several statements, one per line.
    """
    table = read_table(path, ("ID", "Rhythms"))
    columns = table.columns[table.columns.get_loc("Rhythms") :]
    records = table["ID"].str.strip()
    statements = {}
    for record, cells in zip(records, table[columns].to_numpy(), strict=True):
        lines = map(str.strip, "\n".join(cells).lower().split("\n"))
        statements[record] = list(filter(None, lines))
    return statements


def header_statements(comments: Iterable[str]) -> list[str]:
    """Return the statements of a header in lower case, as in ``ludb.csv``.

    >>> header_statements(["<age>: 51", "<diagnoses>:", "Rhythm: Sinus rhythm."])
    ['sinus rhythm']
    """
    statements = []
    for comment in comments:
        text = comment.strip().rstrip(".")
        if text and not comment.startswith("<"):
            statements.append(text.lower().removeprefix("rhythm:").strip())
    return statements


def _unified(statements: list[str]) -> Iterable[str]:
    for name, pattern in _UNIFIED.items():
        if any(map(pattern.match, statements)):
            yield name
    if "sinus rhythm" in statements and all(map(_NORMAL.fullmatch, statements)):
        yield "NORM"
