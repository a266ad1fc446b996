"""Challenges of 2020 and 2021: codes, weights, scored classes."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from catalog_helpers import labels, write_record

from ecgnb.core.errors import ConfigError
from ecgnb.data.catalog import classes_of, find_records
from ecgnb.data.catalog.cinc2020 import NORMAL_CLASS, challenge_weights
from ecgnb.data.catalog.dataset_files import own_table


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
    code_of = own_table("snomed.csv").set_index("abbreviation")["code"]
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
    ours = own_table("snomed.csv").set_index("code")["abbreviation"].to_dict()
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
    assert scored["E07505"] == "[]"  # codes, but none that is scored
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
        ("426783006,999999999", "NSR", ""),
        ("999999999", "[]", ""),  # a number of the right length is no scored class
        ("39732003,999999999", "LAD", "OTHER"),  # left axis deviation
        ("164889003,what", "AF", "AF"),
        ("what", "", ""),
        ("164873001", "[]", "OTHER"),  # LVH, which is not scored
        ("Unknown", "", ""),
        ("nan", "", ""),
        ("164889003;426783006", "AF|NSR", "AF"),
        ("164889003 | 426783006", "AF|NSR", "AF"),
        ("164889003 426783006", "AF|NSR", "AF"),
        ("['164889003', '426783006']", "AF|NSR", "AF"),
        ("164889003.0", "AF", "AF"),
        ("0164889003", "AF", "AF"),
        ("\uff11\uff16\uff14889003", "AF", "AF"),  # digits of another width
        ("AF", "AF", "AF"),
        ("164889003\nDx: 426783006", "AF|NSR", "AF"),
        ("426783006,426783006", "NSR", "NORM"),
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


def test_codes_that_are_not_understood_are_counted(tmp_path):
    for name, dx in (("A0001", "what"), ("A0002", "what, 164889003"), ("A0003", "1")):
        write_record(tmp_path, name, f"Dx: {dx}", ".mat")
    manifest = find_records("cinc2020", tmp_path, label_set="unified")
    assert manifest["label"].tolist() == ["", "AF", ""]
    assert manifest.attrs["not_understood"] == {"what": 2, "1": 1}


def test_every_spelling_of_the_cases_is_read(cases_dir):
    folder = cases_dir / "labels" / "snomed"
    unified = labels("cinc2021", folder, label_set="unified")
    af = {f"A{n:04d}": "AF" for n in (1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16, 17)}
    assert unified == af | {
        "A0006": "NORM", "A0009": "NORM", "A0010": "NORM", "A0007": "", "A0008": ""
    }  # fmt: skip


def test_scored_labels_are_those_of_the_official_script(data_dir):
    """The labels of ``load_labels`` of evaluation-2021, written here from its rules."""
    folder = data_dir / "cinc2020_2021"
    classes, _ = challenge_weights(2021)
    table = own_table("snomed.csv").set_index("code")["scored_2021"]
    scored = labels("cinc2021", folder)
    for path in folder.glob("*.hea"):
        line = re.search(r"^#Dx: (.*)$", path.read_text(), re.MULTILINE)
        codes = line[1].strip().split(",") if line else []
        official = {table.get(code, "") for code in codes} & set(classes)
        if all(code.isdigit() for code in codes):  # early headers have abbreviations
            assert set(scored[path.stem].strip("[]").split("|")) - {""} == official
