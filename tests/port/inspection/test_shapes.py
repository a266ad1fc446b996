from __future__ import annotations

from pathlib import Path

import numpy as np
from small_keras import conv, write_sequential

from ecgnb.port import dump_weights, inspect_keras


def test_inspection_of_a_model_that_cannot_be_ported(tmp_path: Path) -> None:
    entries = [
        conv("c", 2),
        ("Lambda", {"name": "code", "function": "evil"}, {}),
        (
            "Mystery",
            {"name": "secret", "power": 3},
            {"gate": np.ones((4, 5), np.float32)},
        ),
        conv("late", 4, padding="reflect"),
    ]
    found = inspect_keras(write_sequential(tmp_path / "m.h5", [10, 2], entries))
    rows = found.table.set_index("layer")
    assert list(rows["output"]) == ["10x2", "10x4", "", "", ""]
    assert list(rows["parameters"]) == [0, 28, 0, 20, 52] and found.parameters == 100
    assert "never executed" in rows.loc["code", "problem"]
    assert "a class unknown to the port" in rows.loc["secret", "problem"]
    assert "padding='reflect'" in rows.loc["late", "problem"]
    assert rows.loc["secret", "options"] == "power=3" and rows.loc["c", "problem"] == ""
    assert found.outputs == [("late", None, "unknown")]
    assert (
        len(found.problems) == 3
        and "no:" in str(found)
        and "comes after what cannot be ported" in str(found)
    )
    with np.load(
        dump_weights(tmp_path / "m.h5", "secret", tmp_path / "w.npz")
    ) as arrays:
        assert arrays["0/gate"].shape == (4, 5)
