"""Cells: missing values, whole numbers, marks of spreadsheets, patients."""

from __future__ import annotations

import pandas as pd
import pytest

from ecgnb.data.cell_text import patient_id, patient_ids, plain_text, without_decimals


@pytest.mark.parametrize(
    ("text", "patient"),
    [
        ("100", "100"),
        ("100.0", "100"),
        ("100.", "100"),
        (" 100.00 ", "100"),
        ("100.5", "100.5"),
        ("007", "007"),
        ("P1.0", "P1.0"),
        ('="012"', "012"),
        ("NA", ""),
        ("nan", ""),
        ("None", ""),
        ("<NA>", ""),
        ("unknown", ""),
        ("Anonymous", ""),
        ("?", ""),
        ("0", "0"),
    ],
)
def test_ids_of_patients(text, patient):
    assert patient_id(text) == patient


def test_a_column_of_patients_of_any_type():
    assert patient_ids(pd.Series([100.0, 101.0])).tolist() == ["100", "101"]
    assert patient_ids(pd.Series([None, float("nan"), "x"])).tolist() == ["", "", "x"]
    assert patient_ids(pd.Series([7, 8], dtype="Int64")).tolist() == ["7", "8"]


def test_texts():
    assert plain_text("\u00a0left\u2009 block\n") == "left block"
    assert plain_text("o\u0308") == "\u00f6"  # one letter, composed or not
    assert plain_text("'tis a 'name'") == "'tis a 'name'"
    assert without_decimals("-3.0") == "-3" and without_decimals("1e3") == "1e3"
