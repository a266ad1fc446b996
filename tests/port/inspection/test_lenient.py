from __future__ import annotations

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_keras import conv, write_sequential
from zoo_cases import ZOO, zoo_models

from ecgnb.port import inspect_keras


def test_inspection_without_weights_or_with_damaged_ones(tmp_path: Path) -> None:
    model = next(each for each in zoo_models("norm_batch") if each.container == "json")
    (tmp_path / "model.json").write_bytes((ZOO / model.files[0]).read_bytes())
    found = inspect_keras(tmp_path)
    assert found.parameters is None and found.table["parameters"].isna().any()
    assert (
        "holds the architecture only" in found.problems[0]
        and found.table["output"].iloc[-1] != ""
    )
    archive = next(
        ZOO / each.files[0]
        for each in zoo_models("norm_batch")
        if each.container == "keras"
    )
    with (
        zipfile.ZipFile(archive) as old,
        zipfile.ZipFile(tmp_path / "cut.keras", "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:2000] if name.endswith(".h5") else content)
    cut = inspect_keras(tmp_path / "cut.keras")
    assert "truncated, damaged" in cut.problems[0] and len(cut.table) > 2
    whole = write_sequential(tmp_path / "m.h5", [10, 2], [conv("c", 2)])
    with h5py.File(whole, "r+") as file:
        del file["model_weights/c/0/kernel:0"]
    assert list(inspect_keras(whole).table["output"]) == ["10x2", "10x4"]


def test_inspection_of_weights_of_another_model(tmp_path: Path) -> None:
    path = write_sequential(tmp_path / "m.h5", [10, 2], [conv("c", 2)])
    with h5py.File(path, "r+") as file:
        file["model_weights/c"].attrs["weight_names"] = np.array([b"0/kernel:0"])
    found = inspect_keras(path)
    assert found.parameters is None and "needs 2 arrays" in found.problems[0]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"class_name": "MyModel", "config": {}}, "whose code is not in the file"),
        (
            {"class_name": "Sequential", "config": {"name": "s"}},
            "not as Keras writes it",
        ),
        (
            {"class_name": "Functional", "config": {"layers": []}},
            "not as Keras writes it",
        ),
        (
            {
                "class_name": "Sequential",
                "config": {"layers": [{"class_name": "Dense"}]},
            },
            "not as Keras writes it",
        ),
    ],
)
def test_inspection_of_a_file_without_a_graph(
    tmp_path: Path, config: dict, words: str
) -> None:
    (tmp_path / "model.json").write_text(json.dumps(config), encoding="utf-8")
    found = inspect_keras(tmp_path / "model.json")
    assert words in found.problems[0] and found.table.empty
    assert "unknown" in str(found) and found._repr_html_()
