"""Files that are damaged, incomplete, of another model or hostile: a clear error, and
nothing of theirs is executed."""

from __future__ import annotations

import json
import marshal
import random
import zipfile
from base64 import b64encode
from pathlib import Path

import h5py
import numpy as np
import pytest
from zoo_cases import ZOO

from ecgnb.core.errors import EcgnbError, PortError
from ecgnb.port import inspect_keras, port_keras
from ecgnb.port.reading.keras_file import read_keras

WHOLE_FILES = [
    "nested_frozen_k2.h5",
    "nested_frozen_k3.h5",
    "nested_frozen_k2.keras",
    "nested_frozen_k3.keras",
]


@pytest.mark.parametrize("name", WHOLE_FILES)
def test_keras_file_cut_anywhere_is_told(name: str, tmp_path: Path) -> None:
    whole = (ZOO / name).read_bytes()
    file = tmp_path / name
    for share in (0.0, 0.001, 0.1, 0.5, 0.9, 0.99):
        file.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(
            PortError, match=r"truncated, damaged or not a Keras file|is damaged"
        ):
            port_keras(file)


@pytest.mark.parametrize("name", WHOLE_FILES)
def test_keras_file_with_changed_bytes_raises_nothing_but_our_errors(
    name: str, tmp_path: Path
) -> None:
    whole, chance, told = (ZOO / name).read_bytes(), random.Random(0), 0
    for _ in range(40):
        spoilt = bytearray(whole)
        start = chance.randrange(len(whole))
        spoilt[start : start + 64] = chance.randbytes(64)
        (tmp_path / name).write_bytes(spoilt)
        try:
            port_keras(tmp_path / name)
        except EcgnbError:
            told += 1
    assert told > 5, "most bytes of a small HDF5 file are padding, but not all"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "absent.keras", "There is no file"),
        (lambda folder: _write(folder / "text.h5", b"not HDF5"), "not a Keras file"),
        (
            lambda folder: _write(folder / "list.json", b"[1, 2]", "weights.h5"),
            "JSON, but not the configuration",
        ),
        (
            lambda folder: _write(folder / "alone.json", b"{}"),
            "the architecture only, and none of alone.weights.h5",
        ),
        (lambda folder: _zip(folder / "empty.keras"), "not a Keras file"),
        (
            lambda folder: ZOO / "nested_frozen_k2_weights.h5",
            "weights but no architecture",
        ),
        (
            lambda folder: (_write(folder / "saved_model.pb", b"x"), folder)[1],
            "TensorFlow SavedModel",
        ),
    ],
)
def test_keras_file_that_is_none(make, message: str, tmp_path: Path) -> None:
    with pytest.raises(PortError, match=message):
        port_keras(make(tmp_path))


def _write(file: Path, content: bytes, beside: str = "") -> Path:
    file.write_bytes(content)
    if beside:
        with h5py.File(file.parent / beside, "w"):
            pass
    return file


def _zip(file: Path) -> Path:
    with zipfile.ZipFile(file, "w"):
        return file


def test_keras_file_weights_beside_it_or_named(tmp_path: Path) -> None:
    config = (ZOO / "nested_frozen_k2.json").read_bytes()
    weights = (ZOO / "nested_frozen_k2_weights.h5").read_bytes()
    model = _write(tmp_path / "model.json", config)
    with pytest.raises(
        PortError,
        match=r"none of model\.weights\.h5, model_weights\.h5, model\.h5, weights\.h5",
    ):
        port_keras(model)
    elsewhere = _write(tmp_path / "a name.h5", weights)
    named = port_keras(model, weights=elsewhere)
    _write(tmp_path / "weights.h5", weights)
    for path in (model, tmp_path):
        found = port_keras(path)
        assert all(
            (value == found.state_dict()[key]).all()
            for key, value in named.state_dict().items()
        )
    with pytest.raises(PortError, match="no weights file"):
        port_keras(model, weights=tmp_path / "absent.h5")
    with pytest.raises(PortError, match="holds weights itself"):
        port_keras(ZOO / "nested_frozen_k2.h5", weights=elsewhere)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("refused_lambda_k2.h5", r"Lambda.*Python code, which is never executed"),
        ("refused_lambda_k3.keras", r"Lambda.*Python code, which is never executed"),
        ("refused_custom_layer_k2.keras", "a class unknown to the port"),
        ("refused_custom_layer_k3.keras", "a class unknown to the port"),
        ("refused_masking_k3.keras", r"Masking"),
        ("refused_conv2d_k2.keras", r"Conv2D"),
        ("refused_stateful_k2.h5", r"stateful=True"),
        ("refused_float16_k3.keras", r"float16"),
    ],
)
def test_keras_file_that_cannot_be_ported_names_layer_class_and_reason(
    file: str, said: str
) -> None:
    with pytest.raises(PortError, match=r"nothing was built(.|\n)*" + said):
        port_keras(ZOO / file)
    assert inspect_keras(ZOO / file).problems, "but it can be looked at"


def test_keras_file_code_of_a_lambda_is_never_run(tmp_path: Path) -> None:
    """A marshalled function, as Keras stores it, which would leave a trace."""
    trace = tmp_path / "executed"
    code = compile(f"open({str(trace)!r}, 'w').write('x')", "evil", "exec")
    function = [b64encode(marshal.dumps(code)).decode(), None, None]
    layers = [
        {
            "class_name": "InputLayer",
            "config": {
                "batch_input_shape": [None, 8, 2],
                "dtype": "float32",
                "name": "x",
            },
        },
        {
            "class_name": "Lambda",
            "config": {"name": "evil", "function": function, "function_type": "lambda"},
        },
        {"class_name": "Flatten", "config": {"name": "flat"}},
    ]
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}
    with h5py.File(tmp_path / "evil.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.9.0"
        file.create_group("model_weights").attrs["layer_names"] = np.array(
            [b"x", b"evil", b"flat"]
        )
        for name in ("x", "evil", "flat"):
            file["model_weights"].create_group(name).attrs["weight_names"] = np.array(
                [], dtype="S1"
            )
    for look in (port_keras, inspect_keras, read_keras):
        try:
            look(tmp_path / "evil.h5")
        except PortError as error:
            assert "never executed" in str(error)
    assert not trace.exists()


def test_keras_file_with_a_layer_of_another_shape(tmp_path: Path) -> None:
    config = json.loads((ZOO / "nested_frozen_k2.json").read_text(encoding="utf-8"))
    layer = next(
        each
        for each in config["config"]["layers"]
        if each["class_name"] in ("Dense", "Conv1D")
    )
    size = "units" if layer["class_name"] == "Dense" else "filters"
    layer["config"][size] += 1
    (tmp_path / "model.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(
        PortError, match=r"do not fit the architecture.*has the shape|cannot be written"
    ):
        port_keras(tmp_path / "model.json", weights=ZOO / "nested_frozen_k2_weights.h5")


def test_keras_file_that_unpacks_to_more_than_weights_is_refused(
    tmp_path: Path,
) -> None:
    bomb = tmp_path / "bomb.keras"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * 80_000_000)
    with pytest.raises(PortError, match="would unpack to 80 MB"):
        port_keras(bomb)


def test_keras_file_with_spoilt_configurations_raises_nothing_but_our_errors(
    tmp_path: Path,
) -> None:
    """Any value of the configuration replaced, any key left out: an error of ours, or a
    model."""
    whole = json.loads((ZOO / "nested_frozen_k2.json").read_text(encoding="utf-8"))
    chance, refused = random.Random(1), 0
    for number in range(80):
        config = json.loads(json.dumps(whole))
        holder, key = chance.choice(list(_places(config)))
        if chance.random() < 0.3:
            del holder[key]
        else:
            holder[key] = chance.choice(
                [None, "x", -1, 0, [], {}, [[]], 1e9, True, ["x", 0, 0]]
            )
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        try:
            port_keras(file, weights=ZOO / "nested_frozen_k2_weights.h5")
        except EcgnbError:
            refused += 1
    assert refused > 10


def _places(value):
    keys = (
        value.keys()
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else ()
    )
    for key in list(keys):
        yield value, key
        yield from _places(value[key])
