"""The Challenges of 2011, 2017, 2018, 2020 and 2021, PTB, CODE-15% and LUDB: their own
tables and headers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ecgnb.core.errors import ConfigError, LabelError
from ecgnb.data.catalog import classes_of, find_records
from ecgnb.data.catalog.base import unify
from ecgnb.data.catalog.cinc2020 import NORMAL_CLASS, challenge_weights
from ecgnb.data.catalog.dataset_files import own_table
from ecgnb.data.catalog.ludb import header_statements, read_ludb
from ecgnb.data.readers.wfdb_header import read_header


def write_record(folder, name, comments="", suffix=".dat"):
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"# {line}\n" for line in comments.splitlines())
    (folder / f"{name}.hea").write_text(
        f"{name} 1 500 5000\n{name}{suffix} 16 1000/mV 16 0 0 0 0 II\n{lines}"
    )
    (folder / f"{name}{suffix}").write_bytes(bytes(10000))


def labels(name, root, **options):
    manifest = find_records(name, root, **options)
    return dict(zip(manifest["record_id"], manifest["label"], strict=True))


# CinC 2020 and 2021


@pytest.mark.parametrize(("year", "n_classes"), [(2020, 24), (2021, 26)])
def test_weights_are_the_published_ones(data_dir, year, n_classes):
    folder = data_dir / "cinc2020_2021" / f"tables_{year}"
    published = pd.read_csv(folder / "weights.csv", index_col=0)
    published.index = published.columns = [
        str(code).split("|")[0] for code in published.columns
    ]
    classes, weights = challenge_weights(year)
    assert weights.shape == (n_classes, n_classes) and classes == classes_of(
        f"cinc{year}"
    )
    code_of = {row["abbreviation"]: row["code"] for row in own_table("snomed.csv")}
    codes = [code_of[name] for name in classes]
    assert codes == [
        code for code in published.columns if code in codes
    ]  # the order of the table
    np.testing.assert_array_equal(weights, published.loc[codes, codes].to_numpy())
    np.testing.assert_array_equal(np.diag(weights), 1.0)
    assert NORMAL_CLASS in classes
    with pytest.raises(ValueError, match="read-only"):
        weights[0, 0] = 2


def test_weights_of_another_year_are_refused():
    with pytest.raises(ConfigError, match="not of 2017"):
        challenge_weights(2017)


def test_every_published_code_is_in_our_table(data_dir):
    ours = {row["code"]: row["abbreviation"] for row in own_table("snomed.csv")}
    published = {}
    for path in (data_dir / "cinc2020_2021").glob("tables_*/dx_mapping_*.csv"):
        table = pd.read_csv(path, dtype=str)
        published |= dict(
            zip(table[table.columns[1]], table["Abbreviation"], strict=True)
        )
    assert ours == published


def test_early_headers_with_abbreviations_and_the_georgia_headers(data_dir):
    folder = data_dir / "cinc2020_2021"
    scored = labels("cinc2020", folder)
    assert scored["A0006"] == "CRBBB" and scored["A0001"] == "CRBBB"
    assert scored["E00009"] == "LAD|STach"
    assert scored["S0001"] == ""  # an empty #Dx: line, followed by #Rx: Unknown
    assert labels("cinc2020", folder, label_set="all")["A0001"] == "RBBB"
    unified = labels("cinc2021", folder, label_set="unified")
    assert unified["JS00001"] == "AF|BBB"
    assert unified["HR06000"] == "OTHER" and unified["HR06004"] == "NORM"
    assert (
        unified["HR06002"] == "BBB"
        and unified["Q0001"] == "MI"
        and unified["S0001"] == ""
    )


@pytest.mark.parametrize(
    ("dx", "scored", "unified"),
    [
        ("426783006", "NSR", "NORM"),
        ("426783006,999999999", "NSR", "OTHER"),
        ("999999999", "", "OTHER"),
        ("Unknown", "", ""),
        ("59118001, 713427006", "CRBBB", "BBB"),
        ("63593006,17338001", "PAC|PVC", "OTHER"),
        ("164909002", "CLBBB", "BBB"),
        ("rbbb", "CRBBB", "BBB"),
        ("164865005,164889003,426783006", "AF|NSR", "MI|AF"),
    ],
)
def test_codes(tmp_path, dx, scored, unified):
    write_record(tmp_path, "JS00001", f"Age: 60\nDx: {dx}\nRx: Unknown", ".mat")
    write_record(tmp_path, "HR00002", "Dx: 426177001", ".mat")
    assert labels("cinc2021", tmp_path)["JS00001"] == scored
    assert labels("cinc2021", tmp_path, label_set="unified")["JS00001"] == unified


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


# CinC 2017, 2011 and CPSC 2018


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


def test_cpsc2018_with_the_table_of_the_challenge(tmp_path):
    for name in ("A0001", "A0002"):
        (tmp_path / "TrainingSet1").mkdir(exist_ok=True)
        (tmp_path / "TrainingSet1" / f"{name}.mat").touch()
    (tmp_path / "REFERENCE.csv").write_text(
        "Recording,First_label,Second_label,Third_label\nA0001,5,,\nA0002,1,2,9\nA0003,3,,\n"
    )
    manifest = find_records("cpsc2018", tmp_path)
    assert manifest[["record_id", "label"]].values.tolist() == [
        ["A0001", "RBBB"],
        ["A0002", "NSR|AF|STE"],
    ]
    assert manifest.attrs["n_absent"] == 1
    assert labels("cpsc2018", tmp_path, label_set="unified") == {
        "A0001": "BBB",
        "A0002": "AF",
    }
    (tmp_path / "REFERENCE.csv").write_text("Recording,First_label\nA0001,10\n")
    with pytest.raises(LabelError, match="labels A0001 '10'"):
        find_records("cpsc2018", tmp_path)


# PTB, CODE-15%, LUDB


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


def test_headers_of_ludb_say_what_its_table_says(data_dir):
    folder = data_dir / "ludb"
    table = dict(read_ludb(folder / "ludb.csv"))
    assert (
        len(table) == 10 and len(table["8"]) > 4
    )  # cells hold several statements, one a line
    for record, statements in table.items():
        stated = header_statements(read_header(folder / "data" / record).comments)
        # The one thing that headers leave out says nothing that a label depends on.
        assert sorted(set(statements) - {"pacemaker presence, undefined"}) == sorted(
            stated
        )


def test_ludb_takes_the_table_where_a_header_says_nothing(tmp_path):
    write_record(tmp_path / "data", "7", "<age>: 51\n<diagnoses>:")
    (tmp_path / "ludb.csv").write_text(
        'ID,Sex,Rhythms,Conduction\n7,"F\n",Sinus rhythm,"Complete left bundle branch block\n"\n'
    )
    assert labels("ludb", tmp_path) == {"7": "Sinus rhythm"}
    assert labels("ludb", tmp_path / "data", label_set="unified") == {"7": "BBB"}


@pytest.mark.parametrize(
    ("statements", "unified"),
    [
        ("Rhythm: Sinus rhythm.\nElectric axis of the heart: vertical.", "NORM"),
        (
            "Rhythm: Sinus rhythm.\nElectric axis of the heart: left axis deviation.",
            "OTHER",
        ),
        ("Rhythm: Sinus bradycardia.\nElectric axis of the heart: normal.", "OTHER"),
        ("Rhythm: Atrial fibrillation.\nScar formation: septal.", "MI|AF"),
        (
            "Rhythm: Sinus rhythm.\nUndefined ischemia/scar/supp.NSTEMI: apical.",
            "OTHER",
        ),
        (
            "Rhythm: Sinus rhythm.\nSTEMI: septal.\nIncomplete right bundle branch block.",
            "MI|BBB",
        ),
        ("Rhythm: Atrial flutter, typical.", "OTHER"),
    ],
)
def test_unified_labels_of_ludb(tmp_path, statements, unified):
    write_record(tmp_path, "7", f"<diagnoses>:\n{statements}")
    assert labels("ludb", tmp_path, label_set="unified") == {"7": unified}


def test_unify():
    assert unify(["NORM", "BBB", "MI"]) == ("MI", "BBB")
    assert unify(["", "STE"]) == ("OTHER",) and unify(["NORM"], known=False) == (
        "NORM",
    )
