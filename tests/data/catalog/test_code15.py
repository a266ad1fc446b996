"""CODE-15%: patients, the table of exams."""

from __future__ import annotations

from catalog_helpers import labels, write_record

from ecgnb.data.catalog import find_records


def test_code15_patients_and_the_table_of_exams(tmp_path, data_dir):
    manifest = find_records("code15", data_dir / "code15_chagas").set_index("record_id")
    assert manifest.loc["1111", "patient_id"] == "48705"
    assert manifest.loc[
        "9190_all_data_is_zero", ["patient_id", "label", "fs"]
    ].tolist() == ["", "negative", 800.0]
    for name in ("1", "2", "3", "4"):
        write_record(tmp_path, name, "Patient ID: 9\nChagas label: True")
    (tmp_path / "exams.csv").write_text(
        "exam_id,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,normal_ecg\n"
        "1,False,False,False,False,False,False,9,True\n"
        "2,False,True,False,False,False,True,9,False\n"
        "3,True,False,False,False,False,False,9,False\n"
    )
    assert labels("code15", tmp_path, label_set="unified") == {
        "1": "NORM",
        "2": "AF|BBB",
        "3": "OTHER",
        "4": "",
    }


def test_patients_are_those_of_the_table_of_exams(tmp_path):
    for name in ("1", "2", "3", "4"):
        write_record(tmp_path / "part0", name, "Chagas label: False")
    (tmp_path / "exams.csv").write_text(
        "exam_id,RBBB,LBBB,AF,patient_id,normal_ecg\n"
        "1,False,False,False,100,True\n"
        "2.0,False,False,False,100.0,True\n"
        "3,False,False,False,,True\n"
    )
    manifest = find_records("code15", tmp_path / "part0")
    assert manifest["patient_id"].tolist() == ["100", "100", "", ""]


def test_without_the_table_of_exams_a_line_says_that_patients_are_missing(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    write_record(tmp_path, "1", "Chagas label: False")
    find_records("code15", tmp_path)
    assert "there is no exams.csv" in capsys.readouterr().out


def test_spellings_of_the_label_are_those_of_the_challenge(cases_dir):
    found = labels("code15", cases_dir / "labels" / "chagas")
    positive = {"001", "003", "004", "005", "011"}  # True, true, TRUE, 1, T
    negative = {"002", "006", "009", "010"}  # False, 0, ...
    for name, label in found.items():
        expected = "positive" if name in positive else ""
        assert label == ("negative" if name in negative else expected)
