from __future__ import annotations

from pathlib import Path

from small_keras import conv, write_sequential
from zoo_cases import ZOO, zoo_models

from ecgnb.port import inspect_keras


def test_inspection_tells_free_lengths_and_shared_weights(tmp_path: Path) -> None:
    path = write_sequential(
        tmp_path / "m.h5",
        [None, 2],
        [conv("c", 2, strides=[2]), ("Flatten", {"name": "f"}, {})],
    )
    found = inspect_keras(path)
    assert list(found.table["output"]) == ["?x2", "?x4", "?"]
    assert "any number of samples x 2 leads" in str(found)
    model = next(
        each
        for each in zoo_models("nested_twice")
        if each.container == "keras" and each.keras == 3
    )
    rows = inspect_keras(ZOO / model.files[0]).table.set_index("layer")
    assert rows.loc["encoder", "options"] == "of 5 layers"
    assert list(rows.loc[["shared", "shared@1"], "parameters"]) == [16, 0]
    assert (
        rows.loc["encoder@1", "options"] == "the same weights"
        and rows.loc["encoder@1", "output"] == "10x3"
    )
