"""Small Keras configurations of one layer or function, and their ports, for tests."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ecgnb.core.errors import PortError
from ecgnb.explain.kinds import KINDS
from ecgnb.port import PortedModel
from ecgnb.port.build import (
    load_state,
    refuse_unknown,
    state_of,
)
from ecgnb.port.ported import build_port
from ecgnb.port.reading.graph import Graph, parse_graph

#: What a layer cannot be without.
NEEDED: dict[str, dict[str, Any]] = {
    "Activation": {"activation": "relu"},
    "Dot": {"axes": 1},
    "Dropout": {"rate": 0.1},
}


def layer(class_name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": config}


def graph_of(
    *layers: dict[str, Any], keras: int = 2, shape: tuple[int, ...] = (20, 4)
) -> Graph:
    """Return a Sequential model of layers, which are called layer_0, layer_1 and so
    on."""
    first = {
        "class_name": "InputLayer",
        "config": {"name": "ecg", "batch_input_shape": [None, *shape]},
    }
    named = [
        {
            **each,
            "config": {"name": f"layer_{place}", "trainable": True, **each["config"]},
        }
        for place, each in enumerate(layers)
    ]
    return parse_graph(
        {
            "class_name": "Sequential",
            "config": {"name": "model", "layers": [first, *named]},
        },
        keras,
    )


def port_of(graph: Graph, **arrays: np.ndarray) -> PortedModel:
    """Port a graph whose first layer has these arrays."""
    refuse_unknown(graph)
    if arrays:
        graph.layers["layer_0"].arrays.update(arrays)
    port = build_port(graph, {}, "2.6.0", "NTC")
    load_state(port, state_of(graph, port.origin.modules))
    return port


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1.5, shape).astype(np.float32)


def answer(port: PortedModel, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return port(torch.from_numpy(x)).numpy()


def refusal(graph: Graph) -> str:
    with pytest.raises(PortError) as caught:
        refuse_unknown(graph)
    return str(caught.value)


def named_layer(class_name: str, name: str = "layer", **config: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": name, **config}}


def sequential(
    *layers: dict[str, Any], shape: tuple[int, ...] = (7, 3), keras: int = 2
) -> Graph:
    first = {
        "class_name": "InputLayer",
        "config": {"name": "ecg", "batch_input_shape": [None, *shape]},
    }
    return parse_graph(
        {
            "class_name": "Sequential",
            "config": {"name": "model", "layers": [first, *layers]},
        },
        keras,
    )


def filled(graph: Graph, **arrays: np.ndarray) -> nn.Module:
    """Port a graph whose layer ``layer`` holds arrays."""
    graph.layers["layer"].arrays = arrays
    refuse_unknown(graph)
    port = build_port(graph, {}, "2.6.0", "NTC")
    load_state(port, state_of(graph, port.origin.modules))
    return port


def random_arrays(
    gates: int, bias: tuple[int, ...], inputs: int = 3, units: int = 4
) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    shapes = {
        "kernel": (inputs, gates * units),
        "recurrent_kernel": (units, gates * units),
        "bias": bias,
    }
    return {
        name: random.normal(0, 0.6, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


X = np.random.default_rng(2).normal(size=(2, 5, 3)).astype(np.float32)


def of_ecg(kwargs: dict[str, Any]) -> list[Any]:
    return ["ecg", 0, 0, kwargs]


def operation_graph(function: str, first: Any, **kwargs: Any) -> Graph:
    """Return a Keras-2 model of one function of the input ``ecg``, [5, 3]."""
    ecg = {
        "name": "ecg",
        "class_name": "InputLayer",
        "config": {"name": "ecg", "batch_input_shape": [None, 5, 3]},
    }
    node = {
        "name": "f",
        "class_name": "TFOpLambda",
        "config": {"name": "f", "function": function},
    }
    layers = [
        {**ecg, "inbound_nodes": []},
        {**node, "inbound_nodes": [first(kwargs) if callable(first) else first]},
    ]
    config = {
        "name": "model",
        "layers": layers,
        "input_layers": [["ecg", 0, 0]],
        "output_layers": [["f", 0, 0]],
    }
    return parse_graph({"class_name": "Functional", "config": config}, 2)


def operation_port(function: str, first: Any = of_ecg, **kwargs: Any) -> PortedModel:
    graph = operation_graph(function, first, **kwargs)
    refuse_unknown(graph)
    return build_port(graph, {}, "2.6.0", "NTC")


ECG = ["ecg", 0, 0]


SLICE = {"start": None, "stop": None, "step": None}


def functional(
    *layers: dict[str, Any],
    outputs: Any = (("f", 0, 0),),
    inputs: Any = (("ecg", 0, 0),),
) -> dict[str, Any]:
    config = {
        "name": "model",
        "layers": list(layers),
        "input_layers": inputs,
        "output_layers": outputs,
    }
    return {"class_name": "Functional", "config": json.loads(json.dumps(config))}


def entry(class_name: str, name: str, nodes: Any, **config: Any) -> dict[str, Any]:
    return {
        "class_name": class_name,
        "name": name,
        "config": {"name": name, **config},
        "inbound_nodes": nodes,
    }


INPUT = entry("InputLayer", "ecg", [], batch_input_shape=[None, 5, 3])


def nested(*nodes: Any, inputs: tuple[str, ...] = ("a",)) -> dict[str, Any]:
    inner = functional(
        *(
            entry("InputLayer", name, [], batch_input_shape=[None, 5, 3])
            for name in inputs
        ),
        entry("Subtract", "minus", [[[name, 0, 0, {}] for name in inputs]]),
        inputs=[[name, 0, 0] for name in inputs],
        outputs=[["minus", 0, 0]],
    )
    return {**inner, "name": "inner", "inbound_nodes": list(nodes)}


def module_problems(module: Any) -> list[str]:
    """Return what is wrong with modules that exported models carry: imports besides
    PyTorch, no relevance, options that the repr lacks."""
    source = inspect.getsource(module)
    imports = re.findall(r"^(?:import|from) (\w+)", source, flags=re.M)
    problems = [
        f"imports {name}" for name in set(imports) - {"__future__", "typing", "torch"}
    ]
    for name, kind in inspect.getmembers(module, inspect.isclass):
        if not issubclass(kind, nn.Module) or kind.__module__ != module.__name__:
            continue
        if getattr(kind, "relevance", None) not in KINDS:
            problems.append(f"{name} has no relevance")
        options = set(inspect.signature(kind).parameters) - {"args", "kwargs"}
        if options and kind.extra_repr is nn.Module.extra_repr:
            problems.append(f"{name} does not show its options")
    return sorted(problems)


def keras_3(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"args": list(args), "kwargs": kwargs}


def tensor(layer: str, call: int = 0, output: int = 0) -> dict[str, Any]:
    return {
        "class_name": "__keras_tensor__",
        "config": {"keras_history": [layer, call, output]},
    }
