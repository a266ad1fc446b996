"""Run a Keras file and write down what every layer makes: a script for an interpreter
that has Keras.

ecgnb never imports this file; `ecgnb.port.proof.oracle` runs it by its path, in another
process, so it imports nothing of ecgnb either. Arguments: model, weights, major version
of the Keras that wrote them, inputs (.npz), golden file to write.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

NO_KERAS = 3
ABOUT = (
    "grad0/<input>: gradient of the sum over the batch of channel 0 of what enters the softmax or sigmoid "
    "Activation/Softmax layer that makes output 0, else of output 0."
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault(
    "TF_ENABLE_ONEDNN_OPTS", "0"
)  # oneDNN sums in another order, which moves the last digits
if importlib.util.find_spec("torch"):
    os.environ.setdefault("KERAS_BACKEND", "torch")


def load(path: str, weights: str, version: int) -> tuple[Any, Any]:
    """Load a model with the Keras of its version, or else with the other; return Keras
    and the model.
    """
    failures = []
    names = ["tf_keras", "keras"] if version < 3 else ["keras", "tf_keras"]
    names = [name for name in names if importlib.util.find_spec(name)]
    for name in names:
        try:
            keras = importlib.import_module(name)
            return keras, load_with(keras, path, weights)
        except Exception as error:
            failures.append(
                f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            )
    print("\n".join(failures), file=sys.stderr)
    sys.exit(1 if names else NO_KERAS)


def load_with(keras: Any, path: str, weights: str) -> Any:
    """Load one file, or an architecture and its weights; Keras refuses code in the file
    by itself.
    """
    if not path.endswith(".json"):
        return keras.models.load_model(path, compile=False)
    with open(path, encoding="utf-8") as file:
        model = keras.models.model_from_json(file.read())
    model.load_weights(weights)
    return model


def calls_of(model: Any) -> list[tuple[str, Any, list[Any], list[Any]]]:
    """Return label, layer, inputs and outputs of each call, in an order in which they
    can be computed.
    """
    graph = getattr(model, "_functional", None) or model
    depths = graph._nodes_by_depth
    nodes = [
        node
        for depth in sorted(depths, reverse=True)
        for node in depths[depth]
        if not node.is_input
    ]
    inside, found = {id(node) for node in nodes}, []
    for node in nodes:
        layer = getattr(node, "operation", None) or node.layer
        rank = [id(each) for each in layer._inbound_nodes if id(each) in inside].index(
            id(node)
        )
        takes = flat(
            node.input_tensors if hasattr(node, "operation") else node.keras_inputs
        )
        gives = flat(
            node.output_tensors if hasattr(node, "operation") else node.outputs
        )
        found.append(
            (f"{layer.name}@{rank}" if rank else layer.name, layer, takes, gives)
        )
    return found


def flat(value: Any) -> list[Any]:
    """Return all tensors in lists, tuples and dictionaries."""
    if isinstance(value, dict):
        return [each for key in sorted(value) for each in flat(value[key])]
    return (
        [each for item in value for each in flat(item)]
        if isinstance(value, list | tuple)
        else [value]
    )


def run(model: Any, fed: list[Any]) -> list[Any]:
    """Call a model at inference."""
    return flat(model(fed if len(fed) > 1 else fed[0], training=False))


def layers_of(
    keras: Any, model: Any, fed: list[Any], before: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield every layer's output, and those within nested models."""
    calls = calls_of(model)
    wanted = [tensor for _, _, takes, gives in calls for tensor in (*takes, *gives)]
    values = iter(run(keras.Model(model.inputs, wanted), fed))
    for label, layer, takes, gives in calls:
        taken = [next(values) for _ in takes]
        for place in range(len(gives)):
            yield before + label + (f"#{place}" if place else ""), next(values)
        if hasattr(getattr(layer, "_functional", None) or layer, "_nodes_by_depth"):
            yield from layers_of(keras, layer, taken, f"{before}{label}/")


def before_activation(model: Any) -> Any:
    """Return what enters a last softmax or sigmoid layer, else output 0."""
    first = flat(model.outputs)[0]
    for _, layer, takes, gives in calls_of(model):
        kind = type(layer).__name__
        activation = (
            layer.get_config().get("activation") if kind == "Activation" else None
        )
        if any(each is first for each in gives) and (
            kind == "Softmax" or activation in ("softmax", "sigmoid")
        ):
            return takes[0]
    return first


def gradients(keras: Any, model: Any, fed: list[np.ndarray]) -> list[np.ndarray | None]:
    """Return the gradient that `ABOUT` defines for each input; None where there is
    none.
    """
    target = keras.Model(model.inputs, [before_activation(model)])
    floating = [values.dtype.kind == "f" for values in fed]
    if keras.__name__ == "keras" and keras.backend.backend() == "torch":
        torch = importlib.import_module("torch")
        tensors = [
            torch.tensor(values, requires_grad=is_float)
            for values, is_float in zip(fed, floating, strict=True)
        ]
        run(target, tensors)[0][..., 0].sum().backward()
        return [
            None if tensor.grad is None else tensor.grad.numpy() for tensor in tensors
        ]
    tensorflow = importlib.import_module("tensorflow")
    tensors = [tensorflow.constant(values) for values in fed]
    with tensorflow.GradientTape() as tape:
        tape.watch(
            [
                tensor
                for tensor, is_float in zip(tensors, floating, strict=True)
                if is_float
            ]
        )
        total = tensorflow.reduce_sum(run(target, tensors)[0][..., 0])
    found = tape.gradient(total, tensors)
    return [None if each is None else np.asarray(each) for each in found]


def plain(value: Any) -> np.ndarray:
    """Return a tensor of either backend as an array."""
    return (
        value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
    )


def main(path: str, weights: str, version: str, inputs: str, golden: str) -> None:
    """Write the golden file."""
    keras, model = load(path, weights, int(version))
    with np.load(inputs, allow_pickle=False) as file:
        given = {key: file[key] for key in file.files}
    fed = list(given.values())
    layers = {label: plain(value) for label, value in layers_of(keras, model, fed)}
    arrays = {**given, **{f"layer/{label}": values for label, values in layers.items()}}
    arrays |= {
        f"out/{place}": plain(value) for place, value in enumerate(run(model, fed))
    }
    names = [key[3:] for key in given]
    arrays |= {
        f"grad0/{n}": g
        for n, g in zip(names, gradients(keras, model, fed), strict=True)
        if g is not None
    }
    arrays |= {
        "order": np.array(list(layers), dtype=np.str_),
        "about": np.array([ABOUT]),
    }
    np.savez(golden, allow_pickle=False, **arrays)
    backend = keras.backend.backend() if keras.__name__ == "keras" else "tensorflow"
    print(f"{keras.__name__} {keras.__version__} on {backend}")


if __name__ == "__main__":
    main(*sys.argv[1:])
