"""Data sets of WFDB records: foreign, absent, repeated and damaged ones."""

from __future__ import annotations

from catalog_helpers import write_record

from ecgnb.data.catalog import find_records


def test_foreign_absent_and_repeated_recordings_are_counted(tmp_path):
    for name in ("A0001", "JS00001", "Z1"):
        write_record(tmp_path / "g1", name, "Dx: 426783006", ".mat")
    write_record(tmp_path / "g2", "A0001", "Dx: 164889003", ".mat")
    write_record(tmp_path / "g2", "A0002", "Dx: 164889003", ".mat")
    (tmp_path / "g2" / "A0002.mat").unlink()
    manifest = find_records("cinc2020", tmp_path)
    assert manifest[["record_id", "label"]].values.tolist() == [["A0001", "NSR"]]
    assert manifest.attrs == {
        "n_absent": 1,
        "n_withdrawn": 0,
        "n_duplicate": 1,
        "n_foreign": 2,
    }


def test_a_header_that_cannot_be_read_stays_for_preparation_to_reject(tmp_path):
    write_record(tmp_path, "A0001", "Dx: 426783006", ".mat")
    (tmp_path / "A0002.hea").write_text("A0002 many 500\n")
    manifest = find_records("cinc2020", tmp_path)
    assert manifest["record_id"].tolist() == ["A0001", "A0002"]
    assert manifest["label"].tolist() == ["NSR", ""]
    assert manifest["fs"].isna().tolist() == [False, True] and manifest[
        "n_samples"
    ].isna().tolist() == [False, True]
