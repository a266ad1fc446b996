"""LUDB: statements of headers and of its table."""

from __future__ import annotations

import pytest
from catalog_helpers import labels, write_record

from ecgnb.data.catalog.ludb import header_statements, read_ludb
from ecgnb.data.readers.wfdb_header import read_header


def test_headers_of_ludb_say_what_its_table_says(data_dir):
    folder = data_dir / "ludb"
    table = dict(read_ludb(folder / "ludb.csv"))
    assert (
        len(table) == 10 and len(table["8"]) > 4
    )  # cells hold several statements, one a line
    for record, statements in table.items():
        stated = header_statements(read_header(folder / "data" / record).comments)
        # The one thing that headers leave out says nothing that a label depends on.
        assert sorted(set(statements) - {"pacemaker presence, undefined"}) == sorted(
            stated
        )


def test_ludb_takes_the_table_where_a_header_says_nothing(tmp_path):
    write_record(tmp_path / "data", "7", "<age>: 51\n<diagnoses>:")
    (tmp_path / "ludb.csv").write_text(
        'ID,Sex,Rhythms,Conduction\n7,"F\n",Sinus rhythm,"Complete left bundle branch block\n"\n'
    )
    assert labels("ludb", tmp_path) == {"7": "Sinus rhythm"}
    assert labels("ludb", tmp_path / "data", label_set="unified") == {"7": "BBB"}


@pytest.mark.parametrize(
    ("statements", "unified"),
    [
        ("Rhythm: Sinus rhythm.\nElectric axis of the heart: vertical.", "NORM"),
        (
            "Rhythm: Sinus rhythm.\nElectric axis of the heart: left axis deviation.",
            "OTHER",
        ),
        ("Rhythm: Sinus bradycardia.\nElectric axis of the heart: normal.", "OTHER"),
        ("Rhythm: Atrial fibrillation.\nScar formation: septal.", "MI|AF"),
        (
            "Rhythm: Sinus rhythm.\nUndefined ischemia/scar/supp.NSTEMI: apical.",
            "OTHER",
        ),
        (
            "Rhythm: Sinus rhythm.\nSTEMI: septal.\nIncomplete right bundle branch block.",
            "MI|BBB",
        ),
        ("Rhythm: Atrial flutter, typical.", "OTHER"),
    ],
)
def test_unified_labels_of_ludb(tmp_path, statements, unified):
    write_record(tmp_path, "7", f"<diagnoses>:\n{statements}")
    assert labels("ludb", tmp_path, label_set="unified") == {"7": unified}
