"""Seeded weights and golden values of a Keras model: the output of every layer call,
and input gradients."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from zoo_case import Keras

BATCH = 2
LENGTH = 32
ABOUT = {
    "logit": "grad0/<input>: gradient of the sum over the batch of channel 0 of what enters the softmax or sigmoid "
    "Activation/Softmax layer that makes output 0.",
    "output": "grad0/<input>: gradient of the sum of output_0[..., 0].",
    "all": "gradall/<input>: gradient of half the sum of squares of all elements of all floating outputs.",
    "many": "A layer call with several outputs is stored as layer/<name>, layer/<name>#1, layer/<name>#2.",
}


@dataclass(frozen=True)
class Call:
    """One use of a layer in a graph; ``name@1`` is the second one."""

    name: str
    layer: Any
    takes: list[Any]
    gives: list[Any]


def generator(*words: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32("/".join(words).encode()))


def randomise(model: Any, seed: str) -> None:
    """Give every weight values that a wrong order, a lost bias or a wrong epsilon would
    show."""
    for index, weight in enumerate(model.weights):
        if "float" not in str(weight.dtype):
            continue
        leaf = weight.name.split("/")[-1].split(":")[0]
        weight.assign(draw(leaf, tuple(weight.shape), generator(seed, str(index))))


def draw(leaf: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if leaf in ("gamma", "variance", "moving_variance", "scale", "alpha"):
        values = random.uniform(0.4, 1.8, shape)
    elif leaf == "count":
        values = np.zeros(shape)
    elif len(shape) <= 1 or leaf in ("bias", "beta", "mean", "moving_mean"):
        values = random.normal(0, 0.5, shape)
    else:
        values = random.normal(0, 1.3, shape) / np.sqrt(np.prod(shape[:-1]))
    return values.astype(np.float32)


def graph_of(model: Any) -> Any:
    return getattr(model, "_functional", None) or model


def calls_of(keras: Keras, model: Any) -> list[Call]:
    """Return the layer calls of a functional or sequential model in an order in which
    they can be computed."""
    depths = graph_of(model)._nodes_by_depth
    nodes = [
        node
        for depth in sorted(depths, reverse=True)
        for node in depths[depth]
        if not node.is_input
    ]
    layer_of = "operation" if keras.version == 3 else "layer"
    inside = {id(node) for node in nodes}
    found = []
    for node in nodes:
        layer = getattr(node, layer_of)
        rank = [id(each) for each in layer._inbound_nodes if id(each) in inside].index(
            id(node)
        )
        takes = (
            list(node.input_tensors) if keras.version == 3 else list(node.keras_inputs)
        )
        gives = list(
            keras.tf.nest.flatten(
                node.output_tensors if keras.version == 3 else node.outputs
            )
        )
        found.append(
            Call(layer.name + (f"@{rank}" if rank else ""), layer, takes, gives)
        )
    return found


def input_names(model: Any) -> list[str]:
    names = getattr(graph_of(model), "input_names", None)
    return list(names or [tensor.name for tensor in model.inputs])


def random_inputs(keras: Keras, model: Any, seed: str) -> dict[str, np.ndarray]:
    """Draw ``[2, ...]`` for every input that the case did not set itself."""
    values = {}
    for name, tensor in zip(input_names(model), model.inputs, strict=True):
        shape = (
            BATCH,
            *[LENGTH if size is None else size for size in tensor.shape[1:]],
        )
        random = generator(seed, name)
        whole = "int" in str(tensor.dtype)
        drawn = (
            random.integers(0, 7, shape).astype(np.int32)
            if whole
            else random.normal(0, 1.5, shape).astype(np.float32)
        )
        values[name] = keras.data.get(name, drawn)
    return values


def with_nested(
    keras: Keras, model: Any, fed: list[Any], before: str = ""
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yield every layer call and its outputs; those of nested models follow as
    ``<nested>/<inner>``."""
    calls = calls_of(keras, model)
    wanted = [tensor for call in calls for tensor in (*call.takes, *call.gives)]
    values = iter(flat_run(keras, keras.api.Model(model.inputs, wanted), fed))
    for call in calls:
        takes = [next(values) for _ in call.takes]
        yield before + call.name, [next(values).numpy() for _ in call.gives]
        if hasattr(graph_of(call.layer), "_nodes_by_depth"):
            yield from with_nested(keras, call.layer, takes, f"{before}{call.name}/")


def flat_run(keras: Keras, model: Any, fed: list[Any]) -> list[Any]:
    taken = keras.tf.nest.pack_sequence_as(graph_of(model).input, fed)
    return keras.tf.nest.flatten(model(taken, training=False))


def gradient_target(keras: Keras, model: Any) -> tuple[Any, str]:
    """Return the tensor whose channel 0 is differentiated, and which definition that
    is."""
    first = keras.tf.nest.flatten(model.outputs)[0]
    for call in calls_of(keras, model):
        kind, config = type(call.layer).__name__, call.layer.get_config()
        squashes = kind == "Softmax" or (
            kind == "Activation" and config["activation"] in ("softmax", "sigmoid")
        )
        if squashes and any(tensor is first for tensor in call.gives):
            return call.takes[0], ABOUT["logit"]
    return first, ABOUT["output"]


def gradients(
    keras: Keras, model: Any, fed: list[np.ndarray]
) -> tuple[dict[str, list[Any]], str]:
    target, about = gradient_target(keras, model)
    outputs = keras.tf.nest.flatten(model.outputs)
    run = keras.api.Model(model.inputs, [target, *outputs])
    tensors = [keras.tf.constant(values) for values in fed]
    watched = [tensor for tensor in tensors if tensor.dtype.is_floating]
    with keras.tf.GradientTape(persistent=True) as tape:
        tape.watch(watched)
        chosen, *rest = flat_run(keras, run, tensors)
        first = keras.tf.reduce_sum(chosen[..., 0])
        energy = sum(
            keras.tf.reduce_sum(out * out) / 2 for out in rest if out.dtype.is_floating
        )
    found = {
        "grad0": tape.gradient(first, watched),
        "gradall": tape.gradient(energy, watched),
    }
    return found, f"{about} {ABOUT['all']} {ABOUT['many']}"


def golden(
    keras: Keras, model: Any, inputs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the arrays of a golden file."""
    fed = list(inputs.values())
    arrays = {f"in/{name}": values for name, values in inputs.items()}
    order = []
    for name, outputs in with_nested(keras, model, fed):
        order.append(name)
        for index, values in enumerate(outputs):
            key = name + (f"#{index}" if index else "")
            arrays[f"layer/{key}"] = values
            arrays[f"shape/{key}"] = np.array(values.shape)
            arrays[f"mean/{key}"] = np.array(
                [values.mean(), np.abs(values).max()], dtype=np.float64
            )
    arrays["order"] = np.array(order)
    for index, values in enumerate(flat_run(keras, model, fed)):
        arrays[f"out/{index}"] = values.numpy()
    found, about = gradients(keras, model, fed)
    floating = [name for name, values in inputs.items() if values.dtype.kind == "f"]
    for kind, grads in found.items():
        arrays |= {
            f"{kind}/{name}": g.numpy()
            for name, g in zip(floating, grads, strict=True)
            if g is not None
        }
    arrays["about"] = np.array([about])
    return arrays
