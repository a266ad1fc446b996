from __future__ import annotations

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_keras import dense, write_sequential
from zoo_cases import ZOO, zoo_models

from ecgnb.core.errors import PortError
from ecgnb.port import dump_weights, inspect_keras, port_keras


def conv(name: str, n_in: int, **options: object) -> tuple:
    arrays = {
        "kernel": np.ones((3, n_in, 4), np.float32),
        "bias": np.zeros(4, np.float32),
    }
    config = {
        "name": name,
        "filters": 4,
        "kernel_size": [3],
        "strides": [1],
        "padding": "same",
        "activation": "relu",
    }
    return "Conv1D", {**config, **options}, arrays


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
