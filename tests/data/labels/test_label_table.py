"""Label files as tables: files that are no text, names and numbers of rows."""

from __future__ import annotations

import pytest

from ecgnb.core.errors import LabelError
from ecgnb.data.labels.label_table import LabelTable


def table_of(tmp_path, content):
    path = tmp_path / "labels.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return LabelTable(path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PK\x03\x04more", "an Excel or LibreOffice workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "an old Excel workbook"),
        (b"\x1f\x8b\x08", "compressed"),
        (b"PAR1", "a Parquet file"),
    ],
)
def test_files_that_are_no_text_are_named(tmp_path, content, kind):
    with pytest.raises(LabelError, match=f"is {kind}.*Save the table as CSV"):
        table_of(tmp_path, content)


def test_rows_have_their_numbers_in_the_file(tmp_path):
    table = table_of(tmp_path, "# a comment\nsep=;\na;b\n1;2\n\n3;4\n")
    assert table.names == ["a", "b"]
    assert table.cells.index.tolist() == [4, 6]
    assert table.cells[1].tolist() == ["2", "4"]


def test_exact_names_of_columns_win_over_other_cases(tmp_path):
    table = table_of(tmp_path, "AF,af,MI\n1,0,0\n")
    assert (table.column("af"), table.column("AF"), table.column("mi")) == (1, 0, 2)
    assert table.column("BBB") is None
    with pytest.raises(LabelError, match=r"'Af' more than once \(columns 1 and 2\)"):
        table.column("Af")
