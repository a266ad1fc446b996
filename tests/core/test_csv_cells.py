"""Cells that a spreadsheet would execute are escaped, and come back as they were."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgnb.core.csv_cells import escape_cell, restore_cell, restore_cells
from ecgnb.core.files import write_csv

DANGEROUS = ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1")


@pytest.mark.parametrize("text", [*DANGEROUS, "'=1", "''@x", "\uff1d1", "-", "-inf"])
def test_a_formula_begins_with_an_apostrophe_and_is_restored(text: str) -> None:
    assert escape_cell(text) == f"'{text}"
    assert restore_cell(escape_cell(text)) == text


@pytest.mark.parametrize(
    "value", ["I", "'I'", "-3", "+1.5e-3", "a=b", "", 2, -1.5, None]
)
def test_text_and_numbers_stay_as_they_are(value: object) -> None:
    assert escape_cell(value) == value


@given(st.text(alphabet="'=+-@\t1aE.", max_size=6))
def test_any_text_comes_back(text: str) -> None:
    escaped = escape_cell(text)
    # what is not restored to itself would be another text after reading
    assert restore_cell(escaped) == text
    assert escaped[:1] not in tuple("=@\t")


def test_a_written_table_has_no_formula_and_is_read_back(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "record_id": DANGEROUS,
            "=class": [-0.5] * 7,
            "kind": pd.Categorical(DANGEROUS),
        }
    )
    write_csv(tmp_path / "t.csv", table)
    raw = pd.read_csv(tmp_path / "t.csv", dtype="str")
    assert list(raw.columns) == ["record_id", "'=class", "kind"]
    for column in ("record_id", "kind"):
        assert all(cell.startswith("'") for cell in raw[column])
    assert set(raw["'=class"]) == {"-0.5"}
    back = restore_cells(raw)
    assert tuple(back["record_id"]) == tuple(back["kind"]) == DANGEROUS
    assert list(back.columns) == list(table.columns)
    assert tuple(table["record_id"]) == DANGEROUS  # as it was
