"""Run a Keras file and write every layer's output: a script for an interpreter that has
Keras.

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
    "grad0/<input>: gradient of the sum over the batch of channel 0 of what enters the "
    "softmax or sigmoid Activation/Softmax layer that makes output 0, else of output 0."
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# oneDNN sums in another order, which changes the last digits.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
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
            message = " ".join(str(error).split())[:300]
            failures.append(f"{name}: {type(error).__name__}: {message}")
    print("\n".join(failures), file=sys.stderr)
    sys.exit(1 if names else NO_KERAS)


def load_with(keras: Any, path: str, weights: str) -> Any:
    """Load one file, or an architecture and its weights; Keras itself refuses code in
    the file.
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
    nodes = []
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        nodes += [node for node in graph._nodes_by_depth[depth] if not node.is_input]
    inside = {id(node) for node in nodes}
    calls = []
    for node in nodes:
        if hasattr(node, "operation"):  # Keras 3
            layer = node.operation
            inputs, outputs = node.input_tensors, node.output_tensors
        else:
            layer = node.layer
            inputs, outputs = node.keras_inputs, node.outputs
        layer_calls = [id(call) for call in layer._inbound_nodes if id(call) in inside]
        rank = layer_calls.index(id(node))
        label = f"{layer.name}@{rank}" if rank else layer.name
        calls.append((label, layer, flat(inputs), flat(outputs)))
    return calls


def flat(value: Any) -> list[Any]:
    """Return all tensors in lists, tuples and dictionaries."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    if not isinstance(value, list | tuple):
        return [value]
    tensors = []
    for item in value:
        tensors += flat(item)
    return tensors


def run(model: Any, inputs: list[Any]) -> list[Any]:
    """Call a model at inference."""
    return flat(model(inputs if len(inputs) > 1 else inputs[0], training=False))


def layers_of(
    keras: Any, model: Any, inputs: list[Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield every layer's output, and those within nested models."""
    calls = calls_of(model)
    tensors = []
    for _, _, layer_inputs, layer_outputs in calls:
        tensors += [*layer_inputs, *layer_outputs]
    values = iter(run(keras.Model(model.inputs, tensors), inputs))
    for label, layer, layer_inputs, layer_outputs in calls:
        input_values = [next(values) for _ in layer_inputs]
        for number in range(len(layer_outputs)):
            yield prefix + label + (f"#{number}" if number else ""), next(values)
        if hasattr(getattr(layer, "_functional", None) or layer, "_nodes_by_depth"):
            yield from layers_of(keras, layer, input_values, f"{prefix}{label}/")


def before_activation(model: Any) -> Any:
    """Return the input of a last softmax or sigmoid layer, else output 0."""
    output = flat(model.outputs)[0]
    for _, layer, layer_inputs, layer_outputs in calls_of(model):
        class_name = type(layer).__name__
        if class_name == "Softmax":
            activation = "softmax"
        elif class_name == "Activation":
            activation = layer.get_config().get("activation")
        else:
            continue
        is_last = any(tensor is output for tensor in layer_outputs)
        if is_last and activation in ("softmax", "sigmoid"):
            return layer_inputs[0]
    return output


def gradients(
    keras: Any, model: Any, arrays: list[np.ndarray]
) -> list[np.ndarray | None]:
    """Return the gradient that `ABOUT` defines for each input; None where there is
    none.
    """
    target = keras.Model(model.inputs, [before_activation(model)])
    if keras.__name__ == "keras" and keras.backend.backend() == "torch":
        torch = importlib.import_module("torch")
        tensors = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
        run(target, tensors)[0][..., 0].sum().backward()
        results = [tensor.grad for tensor in tensors]
    else:
        tensorflow = importlib.import_module("tensorflow")
        tensors = [tensorflow.constant(array) for array in arrays]
        with tensorflow.GradientTape() as tape:
            tape.watch([x for x in tensors if x.dtype.is_floating])
            total = tensorflow.reduce_sum(run(target, tensors)[0][..., 0])
        results = tape.gradient(total, tensors)
    return [None if gradient is None else plain(gradient) for gradient in results]


def plain(value: Any) -> np.ndarray:
    """Return a tensor of either backend as an array."""
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return np.asarray(value)


def main(path: str, weights: str, version: str, inputs: str, golden: str) -> None:
    """Write the golden file."""
    keras, model = load(path, weights, int(version))
    with np.load(inputs, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    names = [key.removeprefix("in/") for key in arrays]
    values = list(arrays.values())
    order = []
    for label, value in layers_of(keras, model, values):
        arrays[f"layer/{label}"] = plain(value)
        order.append(label)
    for number, value in enumerate(run(model, values)):
        arrays[f"out/{number}"] = plain(value)
    for name, gradient in zip(names, gradients(keras, model, values), strict=True):
        if gradient is not None:
            arrays[f"grad0/{name}"] = gradient
    arrays["order"] = np.array(order, dtype=np.str_)
    arrays["about"] = np.array([ABOUT])
    np.savez(golden, allow_pickle=False, **arrays)
    backend = keras.backend.backend() if keras.__name__ == "keras" else "tensorflow"
    print(f"{keras.__name__} {keras.__version__} on {backend}")


if __name__ == "__main__":
    main(*sys.argv[1:])
