"""Challenge of 2017: versions of its reference table."""

from __future__ import annotations

import pytest
from catalog_helpers import labels, write_record

from ecgnb.core.errors import LabelError
from ecgnb.data.catalog import find_records


def test_the_newest_reference_counts_and_the_validation_copies_do_not(tmp_path):
    for folder, names in (
        ("training/A00", ("A00001", "A00002")),
        ("validation", ("A00001",)),
    ):
        for name in names:
            write_record(tmp_path / folder, name, suffix=".mat")
    (tmp_path / "REFERENCE-v3.csv").write_text("A00001,~\nA00002,O\n")
    (tmp_path / "training" / "REFERENCE.csv").write_text("A00001,N\nA00002,A\n")
    (tmp_path / "validation" / "REFERENCE.csv").write_text("A00001,A\n")
    manifest = find_records("cinc2017", tmp_path)
    assert (
        manifest["label"].tolist() == ["~", "O"] and manifest.attrs["n_duplicate"] == 1
    )
    assert "/training/" in manifest["path"].iloc[0]
    assert labels("cinc2017", tmp_path / "training") == {"A00001": "N", "A00002": "A"}
    assert labels("cinc2017", tmp_path, label_set="unified") == {
        "A00001": "",
        "A00002": "OTHER",
    }


def test_a_table_beside_the_folder_of_the_records_is_found(tmp_path):
    write_record(tmp_path / "training2017", "A00001", suffix=".mat")
    (tmp_path / "REFERENCE-v3.csv").write_text("A00001,A\n")
    assert labels("cinc2017", tmp_path / "training2017") == {"A00001": "A"}


def test_an_unknown_class_is_refused(tmp_path):
    write_record(tmp_path, "A00001", suffix=".mat")
    (tmp_path / "REFERENCE.csv").write_text("A00001,X\n")
    with pytest.raises(
        LabelError, match=r"labels A00001 'X'; the classes are N, A, O, ~"
    ):
        find_records("cinc2017", tmp_path)
