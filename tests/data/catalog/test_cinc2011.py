"""Challenge of 2011: signal quality."""

from __future__ import annotations

from catalog_helpers import labels, write_record

from ecgnb.data.catalog import find_records
from ecgnb.data.readers.wfdb_header import read_header


def test_quality_from_the_lists_of_the_challenge(tmp_path):
    for name in ("1000001", "1000002", "1000003"):
        write_record(tmp_path / "set-a", name)
    (tmp_path / "set-a" / "RECORDS-acceptable").write_text("1000001\n")
    (tmp_path / "set-a" / "RECORDS-unacceptable").write_text("set-a/1000002\n")
    assert labels("cinc2011", tmp_path) == {
        "1000001": "acceptable",
        "1000002": "unacceptable",
        "1000003": "",
    }


def test_quality_agrees_with_the_headers(data_dir):
    manifest = find_records("cinc2011", data_dir / "cinc2011_quality")
    for path, label in zip(manifest["path"], manifest["label"], strict=True):
        assert f"Quality: {label}" in read_header(path).comments
    assert (manifest["leads"] == "I|II|III|aVR|aVF|aVL|V1|V2|V3|V4|V5|V6").all()
