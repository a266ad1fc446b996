from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from pairs import ZOO, zoo_pair

from ecgnb.core.errors import PortError
from ecgnb.port import port_keras
from ecgnb.port.proof import oracle
from ecgnb.port.proof.compare import compare
from ecgnb.port.proof.ecg_inputs import ecg_like_inputs
from ecgnb.port.proof.reference import Reference, read_reference

needs_keras = pytest.mark.skipif(
    not os.environ.get(oracle.PYTHON_VARIABLE),
    reason=f"set {oracle.PYTHON_VARIABLE} to a Python that has Keras",
)
FILE = ZOO / "nested_twice_k3.keras"


@pytest.mark.skipif(
    sys.platform == "win32", reason="needs a shell script as interpreter"
)
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (oracle.NO_KERAS, "has no Keras installed"),
        (1, "could not run nested_twice_k3.keras:\nboom"),
    ],
)
def test_oracle_failures_are_told(status, words, tmp_path) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\necho boom >&2\nexit {status}\n")
    stand_in.chmod(0o755)
    with pytest.raises(PortError, match=words) as error:
        Reference.from_keras(FILE, python=stand_in)
    assert "pip install keras torch" in str(
        error.value
    ) and oracle.PYTHON_VARIABLE in str(error.value)


def test_oracle_interpreter_that_is_not_there(tmp_path) -> None:
    with pytest.raises(PortError, match="There is no Python interpreter"):
        Reference.from_keras(FILE, python=tmp_path / "none")


def test_oracle_is_not_asked_about_code_in_a_file(tmp_path) -> None:
    """Keras 2 would execute a Lambda; such a file is refused before any process is
    started."""
    import h5py

    layers = [
        {
            "class_name": "InputLayer",
            "config": {"name": "x", "batch_input_shape": [None, 4]},
        },
        {
            "class_name": "Lambda",
            "config": {"name": "code", "function": ["4wAA", None, None]},
        },
    ]
    path = tmp_path / "lambda.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}
        )
        file.create_group("model_weights").attrs["layer_names"] = []
    with pytest.raises(PortError, match="Lambda"):
        Reference.from_keras(path, python=tmp_path / "none")


@needs_keras
def test_oracle_gives_the_golden_values() -> None:
    port, golden = zoo_pair("nested_twice")
    reference = read_reference(golden)
    asked = Reference.from_keras(FILE, reference.inputs)
    assert (
        set(asked.layers) == set(reference.layers) and "run by keras 3" in asked.source
    )
    for label, stored in reference.layers.items():
        assert (
            np.abs(asked.layers[label].values - stored.values).max()
            <= 1e-5 * stored.scale
        ), label
    for name, gradient in reference.gradients.items():
        assert (
            np.abs(asked.gradients[name] - gradient).max()
            <= 1e-4 * np.abs(gradient).max()
        )
    assert compare(port, asked).passed


@needs_keras
def test_oracle_finds_a_fault_on_inputs_of_its_own() -> None:
    port = port_keras(FILE)
    reference = Reference.from_keras(FILE)
    assert compare(port, reference).passed
    assert all(
        np.array_equal(reference.inputs[k], v) for k, v in ecg_like_inputs(port).items()
    )
    port.get_submodule("encoder.encoder_bn_2").eps = 1e-5
    assert compare(port, reference).first_divergent == "encoder/encoder_bn_2"
