"""Every data set of the catalogue against real recordings and counts that were taken
from the files directly."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from catalog_helpers import write_record

from ecgnb.core.errors import ConfigError, EcgnbError, LabelError, ReadError
from ecgnb.data.catalog import CATALOG, UNIFIED, build_mapping, classes_of, find_records
from ecgnb.data.catalog.base import unify
from ecgnb.data.labels.mapping import apply_mapping
from ecgnb.data.labels.mapping_file import read_mapping
from ecgnb.data.manifest import COLUMNS
from ecgnb.data.readers.reading import read_recording

#: Data set -> its folder in the sample data, rows of its manifest, label counts of its
#: own label set ("" is none).
EXPECTED = {
    "cinc2011": ("cinc2011_quality", 20, {"acceptable": 10, "unacceptable": 10}),
    "cinc2017": ("cinc2017_sample", 300, {"N": 148, "O": 65, "A": 47, "~": 40}),
    "cinc2020": (
        "cinc2020_2021",
        26,
        {
            "NSR": 6,
            "STach": 5,
            "CRBBB": 3,
            "SB": 3,
            "AF": 2,
            "": 1,
            "[]": 1,
            "LAnFB": 1,
        },
    ),
    "cinc2021": (
        "cinc2020_2021",
        38,
        {
            "STach": 7,
            "SB": 7,
            "NSR": 6,
            "AFL": 5,
            "CRBBB": 4,
            "CLBBB": 1,
            "": 1,
            "[]": 1,
        },
    ),
    "code15": ("code15_chagas", 51, {"negative": 42, "positive": 9}),
    "cpsc2018": ("cpsc2018_raw", 3, {"PAC": 1, "NSR": 1, "RBBB": 1}),
    "cpsc2021": ("cpsc2021", 19, {"non-AF": 10, "AF": 9}),
    "folder": ("ludb", 70, {"": 70}),
    "ludb": (
        "ludb",
        70,
        {
            "Sinus rhythm": 50,
            "Sinus bradycardia": 11,
            "Atrial fibrillation": 4,
            "Atrial flutter": 2,
        },
    ),
    "mitdb": ("mitdb", 360, {"N": 332, "T": 28}),
    "ptbdb": ("ptbdb", 1, {"Myocardial infarction": 1}),
    "ptbxl": (
        "ptbxl",
        344,
        {"NORM": 221, "STTC": 57, "CD": 56, "MI": 47, "HYP": 24, "": 1},
    ),
}
#: Unified labels of the same folders.
UNIFIED_EXPECTED = {
    "cinc2011": {"": 20},
    "cinc2017": {"NORM": 148, "OTHER": 65, "AF": 47, "": 40},
    "cinc2020": {"OTHER": 10, "BBB": 5, "MI": 5, "NORM": 3, "AF": 2, "": 1},
    "cinc2021": {"OTHER": 21, "BBB": 6, "MI": 5, "NORM": 3, "AF": 3, "": 1},
    "code15": {"": 51},
    "cpsc2018": {"OTHER": 1, "NORM": 1, "BBB": 1},
    "cpsc2021": {"OTHER": 10, "AF": 9},
    "folder": {"": 70},
    "ludb": {"OTHER": 36, "BBB": 20, "MI": 14, "AF": 4, "NORM": 3},
    "mitdb": {"OTHER": 210, "NORM": 150},
    "ptbdb": {"MI": 1},
    "ptbxl": {"NORM": 216, "OTHER": 56, "MI": 47, "BBB": 31, "AF": 9},
}
TEXT = [name for name, kind in COLUMNS.items() if kind == "str"]


def counts(manifest):
    return dict(
        Counter(part for label in manifest["label"] for part in label.split("|"))
    )


@pytest.fixture(scope="module")
def found(data_dir):
    return {
        name: find_records(name, data_dir / folder)
        for name, (folder, _, _) in EXPECTED.items()
    }


def test_every_data_set_is_in_the_tables_above():
    assert set(EXPECTED) == set(CATALOG) == set(UNIFIED_EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_counts(found, name):
    _, n_records, labels = EXPECTED[name]
    assert len(found[name]) == n_records
    assert labels.items() <= counts(found[name]).items()


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_unified_counts(data_dir, name):
    assert (
        counts(find_records(name, data_dir / EXPECTED[name][0], label_set="unified"))
        == UNIFIED_EXPECTED[name]
    )


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_manifest_is_exact(found, name):
    manifest = found[name]
    assert list(manifest.columns) == list(COLUMNS)
    kinds = {
        "Int64": pd.Int64Dtype(),
        "float64": "float64",
        "str": pd.Series([""]).astype("str").dtype,
    }
    assert {column: str(manifest[column].dtype) for column in COLUMNS} == {
        c: str(kinds[k]) for c, k in COLUMNS.items()
    }
    assert not manifest[[*TEXT, "start"]].isna().any().any()
    assert (manifest["dataset"] == name).all()
    assert manifest["record_id"].is_unique and (manifest["record_id"] != "").all()
    assert all(
        Path(path).is_absolute() and Path(path).is_file() and "\\" not in path
        for path in manifest["path"]
    )
    assert (manifest["start"] >= 0).all() and (manifest["n_samples"].dropna() > 0).all()
    classes = classes_of(name)
    assert all(
        part in classes
        for label in manifest["label"]
        for part in label.split("|")
        if part not in ("", "[]")
    )
    assert set(manifest.attrs) == {
        "n_absent",
        "n_withdrawn",
        "n_duplicate",
        "n_foreign",
    }


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_first_and_last_rows_can_be_read_as_the_manifest_says(found, name):
    for row in found[name].iloc[[0, -1]].itertuples():
        n_samples = None if pd.isna(row.n_samples) else int(row.n_samples)
        recording = read_recording(row.path, start=int(row.start), n_samples=n_samples)
        assert recording.fs == row.fs
        assert "|".join(recording.leads) == row.leads
        assert n_samples in (None, recording.n_samples)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_facts_are_complete(name):
    dataset = CATALOG.get(name)
    assert dataset.expects
    assert "Licence: " in dataset.__doc__ or name == "folder"
    assert dataset.label_sets["unified"] == UNIFIED
    for classes in dataset.label_sets.values():
        assert len(set(classes)) == len(classes) > 0
        assert not any(
            "|" in name or name != name.strip() or not name for name in classes
        )


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_second_look_finds_the_same(found, data_dir, name):
    pd.testing.assert_frame_equal(
        find_records(name, data_dir / EXPECTED[name][0]), found[name]
    )


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_empty_folder_says_what_is_expected(tmp_path, name):
    with pytest.raises(EcgnbError) as caught:
        find_records(name, tmp_path)
    assert (
        name in str(caught.value)
        and getattr(caught.value, "reason", "empty") == "empty"
    )
    with pytest.raises(ReadError, match="There is no folder"):
        find_records(name, tmp_path / "absent")


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - {"folder"}))
def test_a_wrong_folder_is_refused(data_dir, name):
    other = "cinc2017_sample" if name != "cinc2017" else "ludb"
    with pytest.raises((LabelError, ReadError)):
        find_records(name, data_dir / other)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_folder_one_level_up_is_found_where_nothing_else_lies_beside(
    data_dir, tmp_path, found, name
):
    (tmp_path / "top").symlink_to(
        data_dir / EXPECTED[name][0], target_is_directory=True
    )
    manifest = find_records(name, tmp_path)
    assert manifest["record_id"].tolist() == found[name]["record_id"].tolist()
    assert manifest["label"].tolist() == found[name]["label"].tolist()


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_mappings_are_written_and_come_back(data_dir, tmp_path, name):
    folder = data_dir / EXPECTED[name][0]
    if set(UNIFIED_EXPECTED[name]) == {""}:
        with pytest.raises(LabelError, match="does not define the labels MI, AF"):
            build_mapping(name, folder, tmp_path / "mapping.csv")
        return
    path = build_mapping(name, folder, tmp_path / "mapping.csv")
    manifest = find_records(name, folder, label_set="unified")
    labelled, coverage = apply_mapping(
        manifest, read_mapping(path), UNIFIED, unmapped="drop"
    )
    pd.testing.assert_frame_equal(
        labelled, manifest[manifest["label"] != ""], check_like=False
    )
    assert coverage.n_labelled == len(labelled)


def test_unknown_names_are_refused_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'ptbxl'"):
        find_records("ptbx", tmp_path)
    with pytest.raises(
        ConfigError,
        match=r"no label set 'superclas'\. Did you mean 'superclass' or 'subclass'",
    ):
        classes_of("ptbxl", "superclas")
    with pytest.raises(ConfigError, match="likelihood is 101"):
        find_records("ptbxl", tmp_path, likelihood=101)


# the numbers above, taken from the files without the catalogue


def test_counts_of_ptbxl_follow_from_its_tables(data_dir):
    table = pd.read_csv(data_dir / "ptbxl" / "ptbxl_database.csv")
    statements = pd.read_csv(data_dir / "ptbxl" / "scp_statements.csv", index_col=0)
    superclass = statements["diagnostic_class"].dropna()
    found: Counter[str] = Counter()
    for codes in table["scp_codes"].map(ast.literal_eval):
        classes = {superclass[code] for code in codes if code in superclass.index}
        found.update(classes or {""})
    assert dict(found) == EXPECTED["ptbxl"][2]


def test_counts_of_cinc2017_follow_from_its_table(data_dir):
    table = pd.read_csv(data_dir / "cinc2017_sample" / "REFERENCE.csv", header=None)
    assert table[1].value_counts().to_dict() == EXPECTED["cinc2017"][2]


def test_counts_of_code15_follow_from_its_headers(data_dir):
    text = [path.read_text() for path in (data_dir / "code15_chagas").rglob("*.hea")]
    found = Counter(re.search(r"Chagas label: (\w+)", header)[1] for header in text)
    assert found == {"False": 42, "True": 9}


def test_counts_of_the_challenges_follow_from_their_headers_and_tables(data_dir):
    folder = data_dir / "cinc2020_2021"
    for year, pattern in ((2020, r"(A|Q|I|S|HR|E)\d+"), (2021, r".*")):
        scored = pd.read_csv(
            folder / f"tables_{year}" / "dx_mapping_scored.csv", dtype=str
        )
        code = scored.columns[1]
        names = dict(zip(scored[code], scored["Abbreviation"], strict=True))
        merged = {"RBBB": "CRBBB", "SVPB": "PAC", "VPB": "PVC"} | (
            {"LBBB": "CLBBB"} if year == 2021 else {}
        )
        found: Counter[str] = Counter()
        for path in sorted(folder.glob("*.hea")):
            if re.fullmatch(pattern, path.stem):
                said = re.search(r"^#Dx:([^\n]*)$", path.read_text(), re.MULTILINE)[
                    1
                ].strip()
                short = {
                    names.get(part, part if part in names.values() else "")
                    for part in said.split(",")
                } - {""}
                nothing = "[]" if said else ""  # no scored class, or nothing stated
                found.update({merged.get(name, name) for name in short} or {nothing})
        manifest = find_records(f"cinc{year}", folder)
        assert counts(manifest) == dict(found)


def test_counts_of_ludb_follow_from_its_headers(data_dir):
    found: Counter[str] = Counter()
    for path in (data_dir / "ludb" / "data").glob("*.hea"):
        found[re.search(r"^#Rhythm: ([\w ]+)", path.read_text(), re.MULTILINE)[1]] += 1
    assert counts(find_records("ludb", data_dir / "ludb")) == dict(found)


def test_unify():
    assert unify(["NORM", "BBB", "MI"]) == ("MI", "BBB")
    assert unify(["", "STE"]) == ("OTHER",) and unify(["NORM"], known=False) == (
        "NORM",
    )


@pytest.mark.parametrize(
    ("name", "record", "comments"),
    [
        ("cinc2020", "A0001", "Dx: what"),
        ("code15", "1", "Chagas label: what"),
        ("ptbdb", "s0010_re", "Reason for admission: what"),
    ],
)
@pytest.mark.parametrize("label_set", [None, "unified"])
def test_a_label_that_is_not_understood_is_counted_and_never_other(
    tmp_path, name, record, comments, label_set
):
    if (name, label_set) == ("code15", "unified"):
        pytest.skip("unified labels of CODE-15 are those of its table")
    good = {"cinc2020": "Dx: 426783006", "code15": "Chagas label: True"}
    write_record(tmp_path, record, comments)
    other = {"cinc2020": "A0002", "code15": "2"}.get(name, "s0011_re")
    write_record(
        tmp_path, other, good.get(name, "Reason for admission: Healthy control")
    )
    manifest = find_records(name, tmp_path, label_set=label_set)
    assert manifest["label"].iloc[0] == "" != manifest["label"].iloc[1]
    assert manifest.attrs["not_understood"] == {"what": 1}
