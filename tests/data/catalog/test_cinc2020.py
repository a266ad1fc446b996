"""Challenges of 2020 and 2021: codes, weights, scored classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from catalog_helpers import labels, write_record

from ecgnb.core.errors import ConfigError
from ecgnb.data.catalog import classes_of
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
