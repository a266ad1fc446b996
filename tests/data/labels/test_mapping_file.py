"""Label files: encodings, separators, faults."""

from __future__ import annotations

import pytest

from ecgnb.core.errors import LabelError
from ecgnb.data.labels.mapping_file import read_mapping, write_mapping
from ecgnb.data.manifest import as_manifest


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "unified_label_mapping.csv"
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_reads_files_as_spreadsheets_write_them(tmp_path, encoding, separator, end):
    rows = [
        ["Dataset", " record_id", "mapped_label", "note"],
        ["ptbxl", "00001", "MI| AF", "Müller"],
        ["x", "NA", "MI", ""],
    ]
    text = end.join(separator.join(row) for row in rows) + end
    mapping = read_mapping(written(tmp_path, text, encoding))
    assert mapping.to_dict("list") == {
        "dataset": ["ptbxl", "x"],
        "record_id": ["00001", "NA"],
        "mapped_label": ["MI| AF", "MI"],
    }


def test_rows_without_a_label_are_left_out(tmp_path):
    mapping = read_mapping(
        written(tmp_path, "dataset,record_id,mapped_label\nx,1,\nx,2,MI\nx,3\n")
    )
    assert mapping["record_id"].tolist() == ["2"]


def test_a_missing_column_is_named_with_those_found(tmp_path):
    with pytest.raises(
        LabelError,
        match=r"no column mapped_label; its columns are dataset, record_id, label\.",
    ):
        read_mapping(written(tmp_path, "dataset,record_id,label\nx,1,MI\n"))


def test_a_row_without_a_name_is_pointed_at(tmp_path):
    with pytest.raises(LabelError, match="1 rows without a record_id: rows 3"):
        read_mapping(
            written(tmp_path, "dataset,record_id,mapped_label\nx,1,MI\nx, ,MI\n")
        )


@pytest.mark.parametrize("text", ["", "\n\n", "nonsense"])
def test_a_file_that_is_no_table_is_refused(tmp_path, text):
    with pytest.raises(LabelError, match="no column dataset"):
        read_mapping(written(tmp_path, text))


def test_a_row_with_too_many_cells_is_refused(tmp_path):
    with pytest.raises(LabelError, match=r"no regular table.*line 3"):
        read_mapping(
            written(tmp_path, "dataset,record_id,mapped_label\nx,1,MI\nx,2,MI,AF\n")
        )


def test_a_missing_file_is_a_label_error(tmp_path):
    with pytest.raises(LabelError, match="cannot be opened"):
        read_mapping(tmp_path / "absent.csv")


def test_what_is_written_is_read_back(tmp_path):
    manifest = as_manifest(
        [
            {"dataset": "x", "record_id": "00001", "label": "MI|AF"},
            {"dataset": "x", "record_id": "00002", "label": ""},
            {"dataset": "x", "record_id": "00003", "label": "NORM"},
        ]
    )
    write_mapping(tmp_path / "m.csv", manifest)
    mapping = read_mapping(tmp_path / "m.csv")
    assert mapping.to_dict("list") == {
        "dataset": ["x", "x"],
        "record_id": ["00001", "00003"],
        "mapped_label": ["MI|AF", "NORM"],
    }


def test_patients_are_read_where_the_file_has_them(tmp_path):
    text = (
        "dataset,record_id,Patient_ID,mapped_label\nx,1, p1 ,MI\nx,2,p2,AF\nx,3,,AF\n"
    )
    mapping = read_mapping(written(tmp_path, text))
    columns = ["dataset", "record_id", "mapped_label", "patient_id"]
    assert mapping.columns.tolist() == columns
    assert mapping["patient_id"].tolist() == ["p1", "p2", ""]
