"""Lobachevsky University Database: 200 twelve-lead recordings of 10 s with bounds of P,
QRS and T in each lead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ecgnb.data.catalog.base import CATALOG, UNIFIED, Query, unify
from ecgnb.data.catalog.dataset_files import read_table, tables_beside
from ecgnb.data.catalog.wfdb_dataset import WfdbDataset

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
    """LUDB, one recording a subject. Statements come from the headers, for records
    without any there from ``ludb.csv``.

    The default label set is the rhythm.

    Unified labels: MI by "STEMI" or "scar formation" (not by "undefined
    ischemia/scar/supp. NSTEMI", which leaves it open), AF by atrial fibrillation, BBB
    by any bundle branch block, NORM where sinus rhythm and a normal, horizontal or
    vertical axis are all that is stated, OTHER for the rest.
    """

    name = "ludb"
    title = "Lobachevsky University Electrocardiography Database"
    licence = "ODC-By 1.0"
    citation = "Kalyakulina AI, et al. IEEE Access 2020;8:186181-186190. doi:10.1109/ACCESS.2020.3029211"
    expects = "the folder data with WFDB records 1 to 200, and ludb.csv"
    default_label_set = "rhythm"
    download = "ludb/1.0.1"
    label_sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "rhythm": _RHYTHMS,
        "unified": UNIFIED,
    }
    pattern = re.compile(r"\d{1,3}")

    def table(self, root: Path) -> Mapping[str, list[str]]:
        """Return the statements of each record in ``ludb.csv``."""
        return {
            record: found
            for path in tables_beside(root, "ludb.csv")[:1]
            for record, found in read_ludb(path)
        }

    def labels(
        self,
        record_id: str,
        said: Mapping[str, Any],
        table: Mapping[str, Any],
        query: Query,
    ) -> Iterable[str]:
        """Return the rhythm, or the unified labels of all statements."""
        statements = header_statements(said["comments"]) or table.get(record_id, [])
        if query.label_set == "unified":
            return unify(_unified(statements), known=bool(statements))
        return [
            name
            for name in _RHYTHMS
            if any(_is_rhythm(statement, name) for statement in statements)
        ]

    def patient(self, path: Path, said: Mapping[str, Any]) -> str:
        """Return the record's own name: every subject was recorded once."""
        return path.stem


def read_ludb(path: Path) -> Iterable[tuple[str, list[str]]]:
    """Yield each record of ``ludb.csv`` with its statements in lower case; a cell holds
    several, one a line.
    """
    table = read_table(path, ("ID", "Rhythms"))
    columns = list(table.columns[table.columns.get_loc("Rhythms") :])
    for record, *cells in table[["ID", *columns]].itertuples(index=False):
        yield (
            record.strip(),
            [
                line.strip().lower()
                for cell in cells
                for line in cell.split("\n")
                if line.strip()
            ],
        )


def header_statements(comments: Iterable[str]) -> list[str]:
    """Return the statements of a header in lower case, as they stand in ``ludb.csv``.

    >>> header_statements(["<age>: 51", "<diagnoses>:", "Rhythm: Sinus rhythm.", "Left atrial hypertrophy."])
    ['sinus rhythm', 'left atrial hypertrophy']
    """
    stated = [
        comment.strip().rstrip(".")
        for comment in comments
        if not comment.startswith("<")
    ]
    return [text.lower().removeprefix("rhythm:").strip() for text in stated if text]


def _is_rhythm(statement: str, name: str) -> bool:
    return statement == name.lower() or statement.startswith(f"{name.lower()},")


def _unified(statements: list[str]) -> Iterable[str]:
    yield from [
        name
        for name, pattern in _UNIFIED.items()
        if any(map(pattern.match, statements))
    ]
    if "sinus rhythm" in statements and all(map(_NORMAL.fullmatch, statements)):
        yield "NORM"
