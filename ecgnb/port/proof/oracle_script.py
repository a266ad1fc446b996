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
from typing import Any, NamedTuple

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


class Call(NamedTuple):
    """One call of a layer; its inputs and outputs are symbolic tensors."""

    label: str
    layer: Any
    inputs: list[Any]
    outputs: list[Any]


def load(path: str, weights: str, version: int) -> tuple[Any, Any]:
    """Load a model with the Keras of its version, or else with the other; return Keras
    and the model.
    """
    names = ["keras", "tf_keras"]
    if version < 3:
        names.reverse()
    failures = []
    for name in filter(importlib.util.find_spec, names):
        try:
            keras = importlib.import_module(name)
            return keras, load_with(keras, path, weights)
        except Exception as error:
            message = " ".join(str(error).split())[:300]
            failures.append(f"{name}: {type(error).__name__}: {message}")
    print("\n".join(failures), file=sys.stderr)  # last, after what the libraries print
    sys.exit(1 if failures else NO_KERAS)


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


def graph_of(model: Any) -> Any:
    """Return what holds the calls: a Sequential model of Keras 3 wraps it."""
    return getattr(model, "_functional", None) or model


def calls_of(model: Any) -> list[Call]:
    """Return all calls of layers in an order in which they can be computed."""
    nodes_by_depth = graph_of(model)._nodes_by_depth
    nodes = []
    for depth in sorted(nodes_by_depth, reverse=True):  # inputs are deepest
        nodes += [node for node in nodes_by_depth[depth] if not node.is_input]
    calls = []
    for node in nodes:
        if hasattr(node, "operation"):  # Keras 3
            layer = node.operation
            inputs, outputs = node.input_tensors, node.output_tensors
        else:  # Keras 2
            layer = node.layer
            inputs, outputs = node.keras_inputs, node.outputs
        # Keras also keeps the calls of the layer in other models.
        layer_calls = [call for call in layer._inbound_nodes if call in nodes]
        rank = layer_calls.index(node)
        label = f"{layer.name}@{rank}" if rank else layer.name
        calls.append(Call(label, layer, flat(inputs), flat(outputs)))
    return calls


def flat(value: Any) -> list[Any]:
    """Return all tensors in lists, tuples and dictionaries."""
    if isinstance(value, dict):  # Keras sorts keys, too
        value = [value[key] for key in sorted(value)]
    if not isinstance(value, list | tuple):
        return [value]
    tensors = []
    for item in value:
        tensors += flat(item)
    return tensors


def run(model: Any, inputs: list[Any]) -> list[Any]:
    """Call a model at inference."""
    if len(inputs) == 1:
        (inputs,) = inputs
    return flat(model(inputs, training=False))


def layers_of(
    keras: Any, model: Any, inputs: list[Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield every layer's output, and those within nested models."""
    calls = calls_of(model)
    tensors = []
    for call in calls:
        tensors += [*call.inputs, *call.outputs]
    all_outputs = keras.Model(model.inputs, tensors)  # all in one pass
    values = iter(run(all_outputs, inputs))
    for call in calls:
        label = prefix + call.label
        input_values = [next(values) for _ in call.inputs]
        for number in range(len(call.outputs)):
            name = f"{label}#{number}" if number else label
            yield name, next(values)
        if hasattr(graph_of(call.layer), "_nodes_by_depth"):  # a nested model
            yield from layers_of(keras, call.layer, input_values, f"{label}/")


def before_activation(model: Any) -> Any:
    """Return the input of a last softmax or sigmoid layer, else output 0."""
    output = flat(model.outputs)[0]
    for call in calls_of(model):
        class_name = type(call.layer).__name__
        activation = class_name.lower()
        if class_name == "Activation":
            activation = call.layer.get_config().get("activation")
        is_activation = class_name in ("Softmax", "Activation")
        is_last = any(tensor is output for tensor in call.outputs)
        if is_last and is_activation and activation in ("softmax", "sigmoid"):
            return call.inputs[0]
    return output


def gradients(
    keras: Any, model: Any, arrays: list[np.ndarray]
) -> list[np.ndarray | None]:
    """Return the gradient that `ABOUT` defines for each input; None where there is
    none.
    """
    target = keras.Model(model.inputs, [before_activation(model)])
    if backend_of(keras) == "torch":
        torch = importlib.import_module("torch")
        tensors = []
        for array in arrays:  # token numbers have no gradient
            is_float = array.dtype.kind == "f"
            tensors.append(torch.tensor(array, requires_grad=is_float))
        channel = run(target, tensors)[0][..., 0]
        channel.sum().backward()
        results = [tensor.grad for tensor in tensors]
    else:
        tensorflow = importlib.import_module("tensorflow")
        tensors = list(map(tensorflow.constant, arrays))
        with tensorflow.GradientTape() as tape:
            tape.watch([x for x in tensors if x.dtype.is_floating])
            channel = run(target, tensors)[0][..., 0]
            total = tensorflow.reduce_sum(channel)
        results = tape.gradient(total, tensors)
    return [None if gradient is None else plain(gradient) for gradient in results]


def backend_of(keras: Any) -> str:
    """Return the name of the backend; Keras 2 has TensorFlow alone."""
    return keras.backend.backend() if keras.__name__ == "keras" else "tensorflow"


def plain(value: Any) -> np.ndarray:
    """Return a tensor of either backend as an array."""
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return np.asarray(value)


def main(path: str, weights: str, version: str, inputs: str, golden: str) -> None:
    """Write the golden file."""
    keras, model = load(path, weights, int(version))
    with np.load(inputs, allow_pickle=False) as file:
        arrays = dict(file)  # by "in/<name>", in Keras' order
    names = [key.removeprefix("in/") for key in arrays]
    values = list(arrays.values())
    for label, value in layers_of(keras, model, values):
        arrays[f"layer/{label}"] = plain(value)
    for number, value in enumerate(run(model, values)):
        arrays[f"out/{number}"] = plain(value)
    for name, gradient in zip(names, gradients(keras, model, values), strict=True):
        if gradient is not None:
            arrays[f"grad0/{name}"] = gradient
    arrays["about"] = np.array([ABOUT])
    np.savez(golden, allow_pickle=False, **arrays)
    backend = backend_of(keras)
    print(f"{keras.__name__} {keras.__version__} on {backend}")


if __name__ == "__main__":
    main(*sys.argv[1:])
