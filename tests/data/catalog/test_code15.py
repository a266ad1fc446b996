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
