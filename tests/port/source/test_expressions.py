from __future__ import annotations

from pathlib import Path

import torch
from small_keras import write_sequential

from ecgnb.port import port_keras, source_code


def run(text: str) -> dict:
    names: dict = {"__file__": "model.py"}
    exec(compile(text, "model.py", "exec"), names)
    return names


def test_source_prints_infinity_as_python(tmp_path: Path) -> None:
    pool = (
        "MaxPooling1D",
        {"name": "p", "pool_size": [3], "strides": [2], "padding": "same"},
        {},
    )
    text = source_code(port_keras(write_sequential(tmp_path / "m.h5", [5, 2], [pool])))
    assert 'value=float("-inf")' in text
    x = -torch.rand(1, 5, 2)
    assert torch.equal(run(text)["Model"]()(x), port_keras(tmp_path / "m.h5")(x))
