"""A conversion keeps what is known, or writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_keras import dense, write_sequential

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import sha256_file
from ecgnb.port import convert, load_port, save_port

TASK = {"fs": 100, "n_samples": 20, "leads": ["I", "II"], "classes": ["a", "b", "c"]}


@pytest.fixture
def keras_file(tmp_path: Path) -> Path:
    entries = [
        ("Flatten", {"name": "flat"}, {}),
        dense("d", 40, 3),
        ("Softmax", {"name": "s", "axis": -1}, {}),
    ]
    return write_sequential(tmp_path / "small.h5", [20, 2], entries)


def test_convert_keeps_what_is_known(keras_file: Path, tmp_path: Path) -> None:
    made = convert(
        keras_file,
        tmp_path / "out",
        contract=TASK,
        input_layout="NCT",
        notes="CC BY 4.0",
    )
    again = load_port(made.folder)
    assert again.contract == made.port.contract
    assert again.contract is not None and again.contract.leads == ("I", "II")
    assert again.origin.input_layout == "NCT" and again(
        torch.zeros(1, 2, 20)
    ).shape == (1, 3)
    assert again.source == {
        "file": "small.h5",
        "container": "whole HDF5",
        "sha256": sha256_file(keras_file),
    }
    assert again.origin.activations == ("softmax",)
    described = json.loads((made.folder / "port.json").read_text(encoding="utf-8"))
    assert described["notes"] == "CC BY 4.0"
    assert described["weights_sha256"] == sha256_file(made.folder / "model.safetensors")
    assert described["outputs"] == [{"shape": [3], "activation": "softmax"}]
    assert load_port(save_port(again, tmp_path / "twice")).meta["notes"] == "CC BY 4.0"


def test_convert_refuses_a_contract_that_contradicts_the_model(
    keras_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="2"):
        convert(
            keras_file, tmp_path / "out", contract={**TASK, "leads": ["I", "II", "III"]}
        )
    assert not (tmp_path / "out").exists()
