"""Functions that change shapes against Keras and numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from layer_graphs import (
    ECG,
    SLICE,
    X,
    operation_port,
)
from zoo_cases import ZooModel, check_model, difference, zoo_models


@pytest.mark.parametrize("model", zoo_models("ops2_shapes", "ops3_shapes"), ids=str)
def test_shape_operations_outputs_and_gradients_are_those_of_keras(
    model: ZooModel,
) -> None:
    check_model(model)


ENDS = [[0, 0], [1, 2], [0, 0]]
FUNCTIONS: list[tuple[str, dict[str, Any], Callable[[np.ndarray], np.ndarray]]] = [
    ("expand_dims", {"axis": 1}, lambda x: x[:, None]),
    (
        "compat.v1.transpose",
        {"perm": [0, 2, 1], "conjugate": False},
        lambda x: x.transpose(0, 2, 1),
    ),
    ("reshape", {"shape": [-1, 3, 5]}, lambda x: x.reshape(-1, 3, 5)),
    ("tile", {"multiples": [1, 2, 1]}, lambda x: np.tile(x, [1, 2, 1])),
    ("repeat", {"repeats": 2, "axis": 1}, lambda x: x.repeat(2, 1)),
    ("reverse", {"axis": [1]}, lambda x: x[:, ::-1]),
    (
        "compat.v1.pad",
        {"paddings": ENDS, "constant_values": 2},
        lambda x: np.pad(x, ENDS, constant_values=2),
    ),
    (
        "linalg.matmul",
        {"b": ECG, "transpose_b": True},
        lambda x: x @ x.transpose(0, 2, 1),
    ),
    (
        "__operators__.getitem",
        {"slice_spec": [SLICE, {**SLICE, "start": 1, "step": 2}]},
        lambda x: x[:, 1::2],
    ),
    (
        "__operators__.getitem",
        {"slice_spec": [{"class_name": "__ellipsis__"}, None, 0]},
        lambda x: x[..., None, 0],
    ),
]


@pytest.mark.parametrize(
    ("function", "kwargs", "expected"), FUNCTIONS, ids=[case[0] for case in FUNCTIONS]
)
def test_shape_operations_of_one_function(
    function: str, kwargs: dict[str, Any], expected: Any
) -> None:
    wanted = np.asarray(expected(X), np.float32)
    port = operation_port(function, **kwargs)
    assert difference(port(torch.from_numpy(X)), wanted) <= 1e-6
