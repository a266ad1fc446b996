"""PTB-XL: label sets, likelihoods, rates, folds, withdrawn and absent recordings."""

from __future__ import annotations

import ast
import csv
import re

import pandas as pd
import pytest

from ecgnb.core.errors import LabelError, ReadError
from ecgnb.data.catalog import CATALOG, classes_of, find_records
from ecgnb.data.catalog.ptbxl import WITHDRAWN, labels_of

COLUMNS = [
    "ecg_id",
    "patient_id",
    "scp_codes",
    "strat_fold",
    "filename_lr",
    "filename_hr",
]


@pytest.fixture
def make(tmp_path):
    """Write a PTB-XL folder with empty signal files; ``rates`` says which of a record's
    files are there."""

    def make(rows, rates=("lr", "hr"), root=tmp_path):
        root.mkdir(exist_ok=True)
        with open(
            root / "ptbxl_database.csv", "w", encoding="utf-8", newline=""
        ) as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for number, codes in rows:
                names = [
                    f"records{rate}/{number:05d}_{end}"
                    for rate, end in ((100, "lr"), (500, "hr"))
                ]
                writer.writerow(
                    [number, f"{number + 1000}.0", codes, number % 10 + 1, *names]
                )
                for name in names:
                    if name[-2:] in rates:
                        for suffix in (".hea", ".dat"):
                            path = root / (name + suffix)
                            path.parent.mkdir(exist_ok=True)
                            path.touch()
        return root

    return make


def test_classes_are_those_of_the_published_statements_in_their_order(data_dir):
    table = pd.read_csv(data_dir / "ptbxl" / "scp_statements.csv", index_col=0)
    sizes = {
        name: len(classes) for name, classes in CATALOG.get("ptbxl").label_sets.items()
    }
    assert sizes == {
        "superclass": 5, "subclass": 23, "diagnostic": 44, "form": 19, "rhythm": 12, "all": 71, "unified": 5
    }  # fmt: skip
    assert classes_of("ptbxl", "all") == tuple(table.index)
    for kind in ("diagnostic", "form", "rhythm"):
        assert classes_of("ptbxl", kind) == tuple(table.index[table[kind] == 1])
    assert classes_of("ptbxl", "subclass") == tuple(
        table["diagnostic_subclass"].dropna().unique()
    )
    assert classes_of("ptbxl", "superclass") == ("NORM", "MI", "STTC", "CD", "HYP")


@pytest.mark.parametrize("label_set", ["all", "diagnostic", "form", "rhythm"])
def test_statements_are_all_keys_as_in_the_benchmark(data_dir, label_set):
    table = pd.read_csv(data_dir / "ptbxl" / "ptbxl_database.csv")
    classes = classes_of("ptbxl", label_set)
    manifest = find_records("ptbxl", data_dir / "ptbxl", label_set=label_set)
    for codes, label in zip(
        table["scp_codes"].map(ast.literal_eval), manifest["label"], strict=True
    ):
        assert label == "|".join(name for name in classes if name in codes)


def test_likelihood_counts_for_diagnostic_statements_only():
    codes = {"NORM": 80.0, "AMI": 35.0, "IMI": 0.0, "NDT": 15.0, "PVC": 0.0, "SR": 0.0}
    assert set(labels_of(codes, "all")) == set(codes)
    assert set(labels_of(codes, "all", 35)) == {"NORM", "AMI", "PVC", "SR"}
    assert set(labels_of(codes, "superclass", 50)) == {"NORM"}
    assert labels_of(codes, "unified") == ("MI",)
    assert labels_of(codes, "unified", 50) == ("NORM",)


@pytest.mark.parametrize(
    ("codes", "unified"),
    [
        (["NORM", "SR"], ("NORM",)),
        (["NORM", "IRBBB"], ("BBB",)),
        (["AFIB", "CLBBB", "ASMI"], ("MI", "AF", "BBB")),
        (["AFLT"], ("OTHER",)),
        (["LAFB", "LVH"], ("OTHER",)),
        (["INJAS"], ("MI",)),
        (["SR"], ("OTHER",)),
        ([], ()),
    ],
)
def test_unified_labels(codes, unified):
    assert labels_of(dict.fromkeys(codes, 100.0), "unified") == unified


def test_patients_and_folds(data_dir):
    table = pd.read_csv(data_dir / "ptbxl" / "ptbxl_database.csv")
    manifest = find_records("ptbxl", data_dir / "ptbxl")
    assert manifest["record_id"].astype(int).tolist() == table["ecg_id"].tolist()
    assert (
        manifest["patient_id"].astype(int).tolist()
        == table["patient_id"].astype(int).tolist()
    )
    assert manifest["fold"].tolist() == table["strat_fold"].tolist()


@pytest.mark.parametrize(
    ("target_fs", "n_low"),
    [(None, 334), (500.0, 334), (250.0, 334), (100.0, 344), (50.0, 344)],
)
def test_the_rate_follows_the_target_and_falls_back(data_dir, target_fs, n_low):
    manifest = find_records("ptbxl", data_dir / "ptbxl", target_fs=target_fs)
    assert manifest["fs"].value_counts().get(100.0) == n_low
    assert (manifest["n_samples"] == manifest["fs"] * 10).all()
    low = manifest["fs"] == 100
    assert manifest.loc[low, "path"].str.endswith("_lr.hea").all()
    assert manifest.loc[~low, "path"].str.endswith("_hr.hea").all()


def test_a_missing_rate_falls_back_to_the_other(make):
    root = make([(1, "{'NORM': 100.0}")], rates=("hr",))
    assert find_records("ptbxl", root, target_fs=100)["fs"].tolist() == [500.0]


def test_absent_and_withdrawn_recordings_are_counted(make):
    withdrawn = [137, 139, 140, 141, 142, 143, 145, 456, 458, 459, 461, 462]
    root = make(
        [(number, "{'NORM': 100.0}") for number in [1, 138, 144, 457, *withdrawn]]
    )
    (root / "records100/00001_lr.dat").unlink()
    (root / "records500/00001_hr.hea").unlink()
    manifest = find_records("ptbxl", root)
    assert manifest["record_id"].tolist() == ["00138", "00144", "00457"]
    assert manifest.attrs == {
        "n_absent": 1,
        "n_withdrawn": 12,
        "n_duplicate": 0,
        "n_foreign": 0,
    }


def test_no_signal_at_all_is_an_error(make):
    with pytest.raises(
        ReadError,
        match=r"holds no recording of ptbxl\. Expected there: ptbxl_database\.csv",
    ) as caught:
        find_records("ptbxl", make([(1, "{'NORM': 100.0}")], rates=()))
    assert caught.value.reason == "empty"


def test_the_folder_above_or_below_is_found_unless_ambiguous(make, tmp_path):
    root = make([(1, "{'NORM': 100.0}")], root=tmp_path / "ptb-xl-1.0.3")
    expected = find_records("ptbxl", root)
    for other in (tmp_path, root / "records100"):
        pd.testing.assert_frame_equal(find_records("ptbxl", other), expected)
    make([(1, "{'NORM': 100.0}")], root=tmp_path / "copy")
    with pytest.raises(ReadError, match="more than once") as caught:
        find_records("ptbxl", tmp_path)
    assert caught.value.reason == "ambiguous"


def test_an_empty_cell_of_statements_is_one_unlabelled_recording(make):
    rows = [(1, "{'NORM': 80.0}"), (2, ""), (3, "{}"), (4, "nan"), (5, "{'NORM': nan}")]
    manifest = find_records("ptbxl", make(rows))
    assert manifest["label"].tolist() == ["NORM", "", "", "", "NORM"]
    sure = find_records("ptbxl", make(rows), likelihood=50)
    assert sure["label"].tolist() == ["NORM", "", "", "", ""]


def test_statements_that_are_not_understood_are_counted(make):
    rows = [(1, "{'norm': 80.0}"), (2, "{'XXX': 100}"), (3, "{'AFIB': 0, 'XXX': 0}")]
    manifest = find_records("ptbxl", make(rows), label_set="unified")
    assert manifest["label"].tolist() == ["NORM", "", "AF"]
    assert manifest.attrs["not_understood"] == {"XXX": 2}


def test_the_withdrawn_recordings_are_those_missing_in_the_last_release(data_dir):
    assert len(WITHDRAWN) == 21837 - 21799
    table = pd.read_csv(data_dir / "ptbxl" / "ptbxl_database.csv")
    assert not WITHDRAWN & set(table["ecg_id"])
    text = (data_dir / "README.md").read_text()
    listed = re.search(r"PTB-XL ids (.*?) were withdrawn", text)[1]
    listed = listed.replace("139-143", "139 140 141 142 143")
    assert set(map(int, re.findall(r"\d+", listed))) == WITHDRAWN


@pytest.mark.parametrize(
    ("column", "value"),
    [("ecg_id", "one"), ("ecg_id", "1.5"), ("ecg_id", ""), ("strat_fold", "3;4")],
)
def test_a_damaged_number_is_named_with_its_row_and_column(make, column, value):
    root = make([(1, "{'NORM': 80.0}"), (2, "{'NORM': 80.0}")])
    table = pd.read_csv(root / "ptbxl_database.csv", dtype=str)
    table.loc[1, column] = value
    table.to_csv(root / "ptbxl_database.csv", index=False)
    with pytest.raises(LabelError, match=f"{value!r} in row 3, column {column}"):
        find_records("ptbxl", root)


def test_tables_of_the_cases_are_read(cases_dir):
    with pytest.raises(LabelError, match=r"scp_codes .* in row 10 that cannot"):
        find_records("ptbxl", cases_dir / "labels" / "scp_dict")
    manifest = find_records("ptbxl", cases_dir / "labels" / "scp_float")
    assert manifest["patient_id"].tolist()[:2] == ["100", "101"]
    assert manifest["fold"].tolist()[:2] == [1, 2]


@pytest.mark.parametrize("codes", ["{'NORM': __import__('os')}", "NORM", "[1]", "{"])
def test_damaged_statements_are_refused_and_never_run(make, codes):
    with pytest.raises(LabelError, match=r"scp_codes .* cannot be read"):
        find_records("ptbxl", make([(1, codes)]))


def test_a_database_of_another_kind_is_refused(tmp_path):
    (tmp_path / "ptbxl_database.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LabelError, match="no column 'ecg_id', only a, b"):
        find_records("ptbxl", tmp_path)
