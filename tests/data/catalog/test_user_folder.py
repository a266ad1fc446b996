"""Any folder: which files are recordings, what they are called, what is passed over."""

from __future__ import annotations

import numpy as np
import pytest

from ecgnb.core.errors import ReadError
from ecgnb.data.catalog import find_records
from ecgnb.data.readers.reading import read_recording


def write_record(path, comments=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name
    path.with_name(f"{name}.hea").write_text(
        f"{name} 1 500 100\n{name}.dat 16 1000/mV 16 0 0 0 0 ii\n{comments}"
    )
    path.with_name(f"{name}.dat").write_bytes(bytes(200))


def ids(root):
    return find_records("folder", root)["record_id"].tolist()


def test_every_format_is_found_and_tables_are_not(tmp_path):
    write_record(tmp_path / "wfdb" / "r1", "# Patient ID: 77\n")
    np.save(tmp_path / "r2.npy", np.zeros((12, 50)))
    (tmp_path / "r3.csv").write_text("time,I,II\n0.000,0.1,0.2\n0.002,0.1,\n")
    (tmp_path / "unified_label_mapping.csv").write_text(
        "dataset,record_id,mapped_label\nx,r1,MI\n"
    )
    (tmp_path / "numbers.csv").write_text("record,label\n1,0\n2,1\n")
    (tmp_path / "README.txt").write_text("Some recordings.\nThey are ours.\n")
    (tmp_path / "wfdb" / "r1.atr").write_bytes(b"\0\0")
    (tmp_path / ".hidden").mkdir()
    write_record(tmp_path / ".hidden" / "r9")
    (tmp_path / "._r3.csv").write_text("I\n1\n2\n")
    manifest = find_records("folder", tmp_path)
    assert manifest["record_id"].tolist() == ["r2", "r3", "r1"]
    assert manifest["patient_id"].tolist() == ["", "", "77"]
    assert manifest["leads"].tolist() == ["", "", "II"]
    assert (manifest["label"] == "").all()
    assert read_recording(manifest["path"].iloc[1]).fs == 500


def test_names_are_as_short_as_they_can_be(tmp_path):
    for name in ("a/x", "b/x", "b/y"):
        write_record(tmp_path / name)
    np.save(tmp_path / "b" / "z.npy", np.zeros((1, 5)))
    (tmp_path / "b" / "z.csv").write_text("I\n1\n2\n")
    assert ids(tmp_path) == ["a/x", "b/x", "y", "b/z.csv", "b/z.npy"]


def test_segments_belong_to_their_record(tmp_path):
    for name in ("s_0001", "s_0002"):
        write_record(tmp_path / name)
    (tmp_path / "s.hea").write_text("s/3 1 500 300\ns_0001 100\n~ 100\ns_0002 100\n")
    manifest = find_records("folder", tmp_path)
    assert manifest["record_id"].tolist() == ["s"] and manifest[
        "n_samples"
    ].tolist() == [300]


def test_a_matrix_belongs_to_its_header(tmp_path, data_dir):
    manifest = find_records("folder", data_dir / "cinc2017_sample")
    assert len(manifest) == 300 and manifest["path"].str.endswith(".hea").all()
    assert (
        find_records("folder", data_dir / "cpsc2018_raw")["path"]
        .str.endswith(".mat")
        .all()
    )


def test_signals_without_headers_are_no_recordings(tmp_path):
    (tmp_path / "r1.dat").write_bytes(bytes(200))
    with pytest.raises(ReadError, match=r"Expected there: WFDB headers \(\.hea\)"):
        find_records("folder", tmp_path)
