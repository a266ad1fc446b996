"""Label files: encodings, separators, faults."""

from __future__ import annotations

import pandas as pd
import pytest

from ecgnb.core.errors import LabelError
from ecgnb.data.labels.mapping_file import (
    LabelColumns,
    read_mapping,
    write_mapping,
)
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
        "mapped_label": ["MI|AF", "MI"],
    }


def mapping_of(tmp_path, text, classes=(), **columns):
    return read_mapping(written(tmp_path, text), LabelColumns(**columns), classes)


def test_rows_without_a_label_have_an_unknown_one(tmp_path):
    text = "dataset,record_id,mapped_label\nx,1,\nx,2,MI\nx,3\nx,4,nan\n"
    assert mapping_of(tmp_path, text)["mapped_label"].tolist() == ["", "MI", "", ""]


def test_the_data_set_is_optional(tmp_path):
    mapping = mapping_of(tmp_path, "record_id,mapped_label\n1,MI\n")
    assert mapping.values.tolist() == [["", "1", "MI"]]


def test_columns_can_be_named(tmp_path):
    text = "filename;Diagnose;Patientin\n001.hea;krank;7\n002.hea;gesund;7.0\n"
    mapping = mapping_of(
        tmp_path, text, record="filename", label="diagnose", patient="Patientin"
    )
    assert mapping["record_id"].tolist() == ["001.hea", "002.hea"]
    assert mapping["mapped_label"].tolist() == ["krank", "gesund"]
    assert mapping["patient_id"].tolist() == ["7", "7"]


def test_a_column_that_is_absent_is_named_with_those_found_and_the_parameter(tmp_path):
    text = "filename,label\n1,MI\n"
    with pytest.raises(
        LabelError,
        match=r"no column record_id; its columns are filename, label\..*RECORD_COLUMN='filename'",
    ):
        mapping_of(tmp_path, text)
    with pytest.raises(LabelError, match=r"no column mapped_label.*LABEL_COLUMN"):
        mapping_of(tmp_path, text, record="filename")
    message = r"no column 'labels' \(LABEL_COLUMN\).*Did you mean 'label'"
    with pytest.raises(LabelError, match=message):
        mapping_of(tmp_path, text, record="filename", label="labels")


def test_one_hot_columns_are_classes_and_a_row_of_zeros_is_none_of_them(tmp_path):
    text = "record_id,MI,AF,age\n1,1,0,60\n2,1,1.0,61\n3,0,0,62\n4,,1,63\n"
    mapping = mapping_of(tmp_path, text, one_hot=("MI", "AF"))
    assert mapping["mapped_label"].tolist() == ["MI", "MI|AF", "[]", ""]
    with pytest.raises(LabelError, match=r"ONE_HOT_COLUMNS=\['MI', 'AF'\]"):
        mapping_of(tmp_path, "record_id,MI,AF,age\n1,1,0,60\n2,0,1,61\n")
    with pytest.raises(LabelError, match="'60' in row 2, column 'age'"):
        mapping_of(tmp_path, text, one_hot=("MI", "age"))


def test_in_a_table_of_marks_an_empty_cell_is_a_no(tmp_path):
    text = "record_id,MI,AF\n1,x,\n2,,X\n3,,\n"
    mapping = mapping_of(tmp_path, text, one_hot=("MI", "AF"))
    assert mapping["mapped_label"].tolist() == ["MI", "AF", "[]"]


def test_a_column_twice_is_refused_where_it_is_read(tmp_path):
    twice = "record_id,mapped_label,Mapped_Label\n1,MI,AF\n"
    assert mapping_of(tmp_path, twice)["mapped_label"].tolist() == ["MI"]  # exact name
    same = "record_id,mapped_label,note,mapped_label,note\n1,MI,a,AF,b\n"
    with pytest.raises(
        LabelError, match=r"'mapped_label' more than once \(columns 2 and"
    ):
        mapping_of(tmp_path, same)
    mapping = mapping_of(tmp_path, "record_id,mapped_label,note,note\n1,MI,a,b\n")
    assert mapping["mapped_label"].tolist() == ["MI"]


def test_names_that_a_spreadsheet_shortened_are_refused(tmp_path):
    text = "record_id,mapped_label\n1.20E+10,MI\n1.20E+10,AF\n"
    with pytest.raises(LabelError, match=r"1\.20E\+10.*last digits are lost.*as text"):
        mapping_of(tmp_path, text)


def test_a_word_for_missing_is_a_class_where_the_classes_name_it(tmp_path):
    text = "record_id,mapped_label\n1,None\n2,AF\n"
    assert mapping_of(tmp_path, text)["mapped_label"].tolist() == ["", "AF"]
    mapping = mapping_of(tmp_path, text, classes=("None", "AF"))
    assert mapping["mapped_label"].tolist() == ["None", "AF"]


#: Label files of the cases, with the labels and patients of their first rows.
CASES = {
    "apostrophe": ["MI", "AF", "BBB", "NORM"],
    "comment": ["MI", "AF", "BBB", "NORM"],
    "excelid": ["MI", "AF", "BBB", "NORM"],
    "label_bool": ["True", "False", "True", "False"],
    "label_comma": ["MI", "AF", "Block, left", "NORM"],
    "label_float": ["0", "1", "0", "1"],
    "label_space": ["MI", "AF", "BBB", "NORM"],
    "label_nbsp": ["MI", "AF", "BBB", "NORM"],
    "nodataset": ["MI", "AF", "BBB", "NORM"],
    "sep_comma_multi": ["MI|AF", "AF", "BBB", "NORM"],
    "sep_semi_multi": ["MI|AF", "AF", "BBB", "NORM"],
    "sepline": ["MI", "AF", "BBB", "NORM"],
    "spacecols": ["MI", "AF", "BBB", "NORM"],
    "upcols": ["MI", "AF", "BBB", "NORM"],
}


@pytest.mark.parametrize("name", CASES)
def test_cases_have_their_labels(cases_dir, name):
    mapping = read_mapping(cases_dir / "labels" / name / "unified_label_mapping.csv")
    assert mapping["mapped_label"].tolist()[:4] == CASES[name]
    assert mapping["record_id"].tolist()[:2] == ["001", "002"]


def test_missing_labels_and_patients_of_the_cases(cases_dir):
    folder = cases_dir / "labels"
    labels = read_mapping(folder / "label_nan" / "unified_label_mapping.csv")
    assert labels["mapped_label"].tolist()[7:] == ["NORM", "", "", "", ""]
    unknown = read_mapping(folder / "patient_nan" / "unified_label_mapping.csv")
    assert set(unknown["patient_id"]) == {""}
    mixed = read_mapping(folder / "patient_mixed" / "unified_label_mapping.csv")
    assert mixed["patient_id"].tolist()[:5] == ["100", "100", "101", "101", "102"]


def test_a_workbook_and_a_repeated_column_of_the_cases_are_explained(cases_dir):
    with pytest.raises(LabelError, match=r"Excel.*Save the table as CSV"):
        read_mapping(cases_dir / "labels" / "xlsx" / "labels.xlsx")
    with pytest.raises(LabelError, match="'mapped_label' more than once"):
        read_mapping(cases_dir / "labels" / "dupcol" / "unified_label_mapping.csv")


def test_a_row_without_a_name_is_pointed_at(tmp_path):
    text = "# note\ndataset,record_id,mapped_label\nx,1,MI\n\nx, ,MI\n"
    with pytest.raises(LabelError, match="1 rows without a record_id: rows 5"):
        mapping_of(tmp_path, text)


@pytest.mark.parametrize("text", ["", "\n\n", "nonsense"])
def test_a_file_that_is_no_table_is_refused(tmp_path, text):
    with pytest.raises(LabelError, match=r"no column record_id"):
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
            {"dataset": "x", "record_id": "00004", "label": "[]"},
        ]
    )
    write_mapping(tmp_path / "m.csv", manifest)
    mapping = read_mapping(tmp_path / "m.csv")
    assert mapping.to_dict("list") == {
        "dataset": ["x", "x", "x", "x"],
        "record_id": ["00001", "00002", "00003", "00004"],
        "mapped_label": ["MI|AF", "", "NORM", "[]"],
    }


def test_patients_are_read_where_the_file_has_them(tmp_path):
    text = (
        "dataset,record_id,Patient_ID,mapped_label\nx,1, p1 ,MI\nx,2,p2,AF\nx,3,,AF\n"
    )
    mapping = read_mapping(written(tmp_path, text))
    columns = ["dataset", "record_id", "mapped_label", "patient_id"]
    assert mapping.columns.tolist() == columns
    assert mapping["patient_id"].tolist() == ["p1", "p2", ""]


def test_labels_that_were_escaped_for_spreadsheets_come_back(tmp_path):
    manifest = pd.DataFrame(
        {"dataset": "d", "record_id": ["=a", "-7", "b"], "label": ["+AF", "@x|=y", "N"]}
    )
    write_mapping(tmp_path / "labels.csv", manifest)
    text = (tmp_path / "labels.csv").read_text(encoding="utf-8")
    assert "d,'=a,'+AF" in text and "d,-7,'@x|=y" in text
    mapping = read_mapping(tmp_path / "labels.csv")
    assert mapping["record_id"].tolist() == ["=a", "-7", "b"]
    assert mapping["mapped_label"].tolist() == ["+AF", "@x|=y", "N"]
