"""PTB Diagnostic: reasons for admission, patients."""

from __future__ import annotations

import pytest
from catalog_helpers import labels, write_record

from ecgnb.data.catalog import find_records


@pytest.mark.parametrize(
    ("reason", "label", "unified"),
    [
        ("Myocardial infarction", "Myocardial infarction", "MI"),
        ("Healthy control", "Healthy control", "NORM"),
        ("Bundle branch block", "Bundle branch block", "BBB"),
        ("Heart failure (NYHA 3)", "Cardiomyopathy or heart failure", "OTHER"),
        ("Myocarditi", "Myocarditis", "OTHER"),
        ("Unstable angina", "Miscellaneous", "OTHER"),
        ("Dysrhythmia", "Dysrhythmia", "OTHER"),
        ("n/a", "", ""),
    ],
)
def test_reasons_for_admission(tmp_path, reason, label, unified):
    write_record(
        tmp_path / "patient007",
        "s0001_re",
        f"age: 1\nReason for admission: {reason}\nSmoker: no",
    )
    write_record(
        tmp_path / "patient008", "s0002lre", "Reason for admission: Healthy control"
    )
    manifest = find_records("ptbdb", tmp_path)
    assert manifest["patient_id"].tolist() == ["patient007", "patient008"]
    assert manifest["label"].iloc[0] == label
    assert labels("ptbdb", tmp_path, label_set="unified")["s0001_re"] == unified
