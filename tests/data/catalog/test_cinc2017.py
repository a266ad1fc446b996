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


@pytest.mark.parametrize(
    ("names", "newest"),
    [
        (("REFERENCE-original.csv", "REFERENCE.csv"), "REFERENCE.csv"),
        (("REFERENCE-v3.csv", "REFERENCE-original.csv"), "REFERENCE-v3.csv"),
        (("REFERENCE-v10.csv", "REFERENCE-v3.csv"), "REFERENCE-v10.csv"),
        (("reference-v2.csv", "REFERENCE.csv"), "reference-v2.csv"),
        (("REFERENCE.csv", "REFERENCE-old.csv"), "REFERENCE.csv"),
    ],
)
def test_the_newest_version_wins_and_is_named(
    tmp_path, names, newest, capsys, monkeypatch
):
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    write_record(tmp_path, "A00001", suffix=".mat")
    write_record(tmp_path, "A00002", suffix=".mat")
    for name in names:
        label = "A" if name == newest else "N"
        (tmp_path / name).write_text(f"A00001,{label}\nA00002,O\n")
    assert labels("cinc2017", tmp_path) == {"A00001": "A", "A00002": "O"}
    text = capsys.readouterr().out
    assert f"{newest}, the newest version; 1 of them differ in older ones" in text
