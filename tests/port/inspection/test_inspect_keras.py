from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_keras import dense, write_sequential
from zoo_cases import ZOO, zoo_models

from ecgnb.core.errors import PortError
from ecgnb.port import dump_weights, inspect_keras, port_keras


def test_inspection_of_the_pathology_model(golden_dir: Path) -> None:
    found = inspect_keras(golden_dir / "keras" / "pathology_avb" / "model.json")
    assert (found.keras_version, found.parameters, found.trainable) == (
        "2.6.0",
        64_386,
        64_386,
    )
    assert found.inputs == {"conv1d_input": (None, 2000, 12)}
    assert found.outputs == [("softmax", (2,), "softmax")]
    assert not found.problems
    rows = found.table.set_index("layer")
    assert rows.loc["conv1d", "options"] == "64 filters, k3, s1, same"
    assert list(rows.loc[["max_pooling1d_4", "dense_3"], "output"]) == ["62x64", "2"]
    assert list(rows.loc[["conv1d", "conv1d_1", "dense_3"], "parameters"]) == [
        2368,
        12_352,
        130,
    ]
    assert (
        rows.loc["activation_4", "activation"] == "elu"
        and rows.loc["activation_4", "takes"] == "conv1d_4"
    )
    text = str(found)
    assert "2000 samples x 12 leads" in text and "pathology_avb" in text
    assert "sampling rate, units, order of the leads" in text.replace("\n", " ")


def test_inspection_of_the_ribeiro_model_tells_branches_and_frozen_numbers(
    golden_dir: Path,
) -> None:
    found = inspect_keras(golden_dir / "keras" / "ribeiro_small" / "model.keras")
    assert (found.parameters, found.trainable) == (44_966, 44_662)
    rows = found.table.set_index("layer")
    assert rows.loc["add", "takes"] == "conv1d_3, conv1d_1"
    assert rows.loc["conv1d", "options"] == "8 filters, k16, s1, same, no bias"
    assert found.outputs == [("dense", (6,), "sigmoid")]


@pytest.mark.parametrize("model", zoo_models(), ids=str)
def test_inspection_agrees_with_the_port_and_the_golden_shapes(model) -> None:
    path, *weights = [ZOO / name for name in model.files]
    found = inspect_keras(path, *weights)
    port = port_keras(path, weights=weights[0] if weights else None)
    assert not found.problems
    assert found.inputs == port.origin.inputs
    assert [end for _, _, end in found.outputs] == list(port.origin.activations)
    shapes = found.table.set_index("layer")["output"]
    for name in model.arrays:
        label = name.removeprefix("layer/")
        if (
            name.startswith("layer/")
            and label in shapes
            and "steps/" + label not in model.arrays
        ):
            told = shapes[label].split("x") if shapes[label] else []
            sizes = model.arrays[name].shape[1:]
            assert len(told) == len(sizes), label
            assert all(
                word in ("?", str(size)) for word, size in zip(told, sizes, strict=True)
            ), label


@pytest.mark.parametrize("content", [b"", b"not a model", b'{"a": 1}'])
def test_inspection_refuses_what_is_no_model(tmp_path: Path, content: bytes) -> None:
    for name in ("m.json", "m.h5", "m.keras"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PortError):
            inspect_keras(tmp_path / name)
    with pytest.raises(PortError, match="no file"):
        inspect_keras(tmp_path / "absent.h5")


def test_inspection_shows_hostile_names_as_text(tmp_path: Path) -> None:
    found = inspect_keras(
        write_sequential(tmp_path / "m.h5", [3], [dense("<i>\x1b[2J\nx", 3, 2)])
    )
    assert "\x1b" not in str(found)
    html = found._repr_html_()
    assert "<i>" not in html and "&lt;i&gt;" in html


def test_inspection_dumps_the_arrays_of_a_layer(tmp_path: Path) -> None:
    entry = dense("d", 3, 2)
    path = write_sequential(tmp_path / "m.h5", [3], [entry])
    with np.load(
        dump_weights(path, "d", tmp_path / "w.npz"), allow_pickle=False
    ) as arrays:
        assert set(arrays) == {"kernel", "bias"}
        np.testing.assert_array_equal(arrays["kernel"], entry[2]["kernel"])
    with pytest.raises(PortError, match=r"no layer 'dd'.*Did you mean 'd'"):
        dump_weights(path, "dd", tmp_path / "w.npz")
    with pytest.raises(PortError, match="has no weights"):
        dump_weights(path, "d_input", tmp_path / "w.npz")
    model = next(
        each for each in zoo_models("bidirectional_lstm") if each.container == "keras"
    )
    found = inspect_keras(ZOO / model.files[0])
    layer = found.table.loc[found.table["class"] == "Bidirectional", "layer"].iloc[0]
    with np.load(dump_weights(ZOO / model.files[0], layer, tmp_path / "b")) as arrays:
        assert {"forward_layer/kernel", "backward_layer/recurrent_kernel"} <= set(
            arrays
        )
