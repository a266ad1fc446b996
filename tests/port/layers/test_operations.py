"""Functions as nodes of a graph against Keras, numpy, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from layer_graphs import ECG, SLICE, X, of_ecg, operation_graph, operation_port
from torch import nn
from zoo_cases import ZooModel, check_model, difference, zoo_models

from ecgnb.core.errors import PortError
from ecgnb.port.build import (
    refuse_unknown,
)


@pytest.mark.parametrize(
    "model",
    zoo_models("ops2_arithmetic", "ops2_ellipsis", "ops3_arithmetic", "mask_path"),
    ids=str,
)
def test_operations_outputs_and_gradients_are_those_of_keras(model: ZooModel) -> None:
    check_model(model)


FUNCTIONS: list[tuple[str, dict[str, Any], Callable[[np.ndarray], np.ndarray]]] = [
    ("math.negative", {"name": None}, lambda x: -x),
    ("math.rsqrt", {}, lambda x: 1 / np.sqrt(x)),
    (
        "__operators__.add",
        {"y": [0.5, 1.0, -2.0], "name": "add"},
        lambda x: x + np.array([0.5, 1.0, -2.0]),
    ),
    ("math.divide", {"y": ECG}, np.ones_like),
    ("math.maximum", {"y": 0.1}, lambda x: np.maximum(x, 0.1)),
    ("math.minimum", {"y": [0.0, 0.1, 1.0]}, lambda x: np.minimum(x, [0.0, 0.1, 1.0])),
    ("math.less_equal", {"y": 0.0}, lambda x: x <= 0),
    (
        "math.reduce_variance",
        {"axis": [1, 2], "keepdims": True},
        lambda x: x.var((1, 2), keepdims=True),
    ),
    ("math.reduce_sum", {"axis": -2}, lambda x: x.sum(1)),
    ("nn.leaky_relu", {"alpha": 0.3}, lambda x: np.where(x > 0, x, 0.3 * x)),
    ("nn.elu", {}, lambda x: np.where(x > 0, x, np.expm1(x))),
    ("nn.softmax", {"axis": 1}, lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    (
        "clip_by_value",
        {"clip_value_min": -0.5, "clip_value_max": 1},
        lambda x: x.clip(-0.5, 1),
    ),
    (
        "math.l2_normalize",
        {"axis": -1},
        lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True),
    ),
]


@pytest.mark.parametrize(
    ("function", "kwargs", "expected"), FUNCTIONS, ids=[case[0] for case in FUNCTIONS]
)
def test_layers_of_one_function(
    function: str, kwargs: dict[str, Any], expected: Any
) -> None:
    x = np.abs(X) + 0.1 if function == "math.rsqrt" else X
    wanted = np.asarray(expected(x), np.float32)
    assert (
        difference(operation_port(function, **kwargs)(torch.from_numpy(x)), wanted)
        <= 1e-6
    )


def test_layers_of_functions_take_numbers_first_lists_and_parts() -> None:
    x = torch.from_numpy(X)
    of_two = operation_port(
        "math.subtract", lambda kwargs: ["_CONSTANT_VALUE", -1, 2.0, {"y": ECG}]
    )
    torch.testing.assert_close(of_two(x), 2 - x)
    of_one = operation_port("stack", lambda kwargs: [["ecg", 0, 0, {"axis": 1}]])
    torch.testing.assert_close(of_one(x), x[:, None])


def test_layers_of_activation_functions_are_modules_that_rules_can_hook() -> None:
    kinds = {
        "nn.relu": nn.ReLU,
        "math.sigmoid": nn.Sigmoid,
        "nn.softmax": nn.Softmax,
        "nn.gelu": nn.GELU,
    }
    for function, kind in kinds.items():
        assert type(operation_port(function).f) is kind
    port = operation_port("math.sigmoid")
    assert port.origin.activations == ("sigmoid",)
    torch.testing.assert_close(port.logits(torch.from_numpy(X)), torch.from_numpy(X))


UNKNOWN = {
    "(op:fft): a class unknown": ("signal.fft", {}),
    "it is called with adjoint_a=True": (
        "linalg.matmul",
        {"b": ECG, "adjoint_a": True},
    ),
    "it is called with conjugate=True": (
        "compat.v1.transpose",
        {"perm": [0, 2, 1], "conjugate": True},
    ),
    "it is called with num=3": ("split", {"num_or_size_splits": 3, "num": 3}),
}


@pytest.mark.parametrize(("said", "given"), UNKNOWN.items(), ids=UNKNOWN)
def test_layers_of_unknown_functions_are_refused_before_building(
    said: str, given: tuple[str, dict[str, Any]]
) -> None:
    with pytest.raises(PortError, match="nothing was built") as error:
        refuse_unknown(operation_graph(given[0], of_ecg, **given[1]))
    assert said in str(error.value)


IMPOSSIBLE = {
    "mixes the samples": ("math.reduce_mean", {}),
    "axis=0 mixes": ("math.reduce_max", {"axis": 0}),
    "moves the batch": ("compat.v1.transpose", {}),
    "a slice with the step -1": (
        "__operators__.getitem",
        {"slice_spec": [SLICE, {**SLICE, "step": -1}]},
    ),
    "mode='REFLECT' (only": (
        "compat.v1.pad",
        {"paddings": [[0, 0], [1, 1], [0, 0]], "mode": "REFLECT"},
    ),
    "dtype='float16' (only": ("cast", {"dtype": "float16"}),
}


@pytest.mark.parametrize(("said", "given"), IMPOSSIBLE.items(), ids=IMPOSSIBLE)
def test_layers_of_functions_refuse_what_has_no_equal(
    said: str, given: tuple[str, dict[str, Any]]
) -> None:
    with pytest.raises(PortError, match="The call 'f' of layer 'f'") as error:
        operation_port(given[0], **given[1])
    assert said in str(error.value)
