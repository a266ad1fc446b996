"""Keras model configuration as layers and calls, the same for Keras 1, 2 and 3."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from ecgnb.core.errors import PortError
from ecgnb.port.reading.calls import (
    Call,
    Config,
    Ref,
    in_order,
    parse_call,
    refs_of,
    renumbered,
)
from ecgnb.port.reading.keras1 import modern_layer

#: Classes that are models within models.
MODEL_CLASSES = ("Sequential", "Functional", "Model")

#: Layers whose output changes when their input comes with a mask.
MASK_USERS = frozenset(
    {
        "AdditiveAttention",
        "Attention",
        "Bidirectional",
        "CuDNNGRU",
        "CuDNNLSTM",
        "GRU",
        "GlobalAveragePooling1D",
        "GroupQueryAttention",
        "LSTM",
        "Maximum",
        "Minimum",
        "MultiHeadAttention",
        "Multiply",
        "SimpleRNN",
        "Softmax",
        "TimeDistributed",
    }
)


@dataclass
class Layer:
    """One layer, however often it is called.

    Attributes:
        name: as in Keras.
        class_name: of Keras; functions in a graph are ``"op:<name>"``, such as
            ``"op:add"``.
        config: its options, as Keras serialised them.
        keras: major version of the Keras that wrote the file; some defaults differ.
        inner: the graph of a nested model.
        children: the layers that a wrapper wraps, by the name under which Keras 3
            stores their weights.
        arrays: its weights by their Keras name; filled when weights are bound.
    """

    name: str
    class_name: str
    config: Config
    keras: int
    inner: Graph | None = None
    children: dict[str, Layer] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def trainable(self) -> bool:
        """Whether Keras trains its weights; frozen ones are stored in another order."""
        return bool(self.config.get("trainable", True))

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.class_name})"


@dataclass
class Graph:
    """A model: layers, their calls in executable order, inputs and outputs."""

    name: str
    layers: dict[str, Layer]
    calls: list[Call]
    inputs: list[Ref]
    outputs: list[Ref]


def fits(sizes: Sequence[int | None], shape: Sequence[int]) -> bool:
    """Whether a shape has these sizes; ``None`` stands for any."""
    if len(sizes) != len(shape):
        return False
    return all(n is None or n == size for n, size in zip(sizes, shape, strict=True))


def walk(layers: dict[str, Layer], prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield every layer with its path, nested and wrapped ones after the layer that
    holds them.
    """
    for layer in layers.values():
        path = prefix + layer.name
        yield path, layer
        yield from walk(layer.children, f"{path}/")
        if layer.inner:
            yield from walk(layer.inner.layers, f"{path}/")


def parse_graph(config: Config, keras: int) -> Graph:
    """Read the configuration of a model.

    Args:
        config: ``class_name`` and ``config``, as in `KerasFile`.
        keras: major version of the Keras that wrote it.

    Raises:
        PortError: the model is a subclassed one, without a graph, or the configuration
            contradicts itself.
    """
    kind = config["class_name"]
    options = config["config"]
    if keras < 3 and _is_of_keras_3(options):
        keras = 3
    if kind == "Sequential":
        return _parse_sequential(options, keras)
    if kind in MODEL_CLASSES or "input_layers" in options:
        return _parse_functional(options, keras)
    raise PortError(
        f"The file holds a model of the class {kind!r}, whose code is not in the file. "
        "Only Sequential and functional models can be ported: rebuild it as one, copy "
        "the weights, and save that."
    )


def _is_of_keras_3(config: Any) -> bool:
    """Whether options are written as Keras 3 does, whose ``model.json`` may lack its
    version.
    """
    entries = config.get("layers", []) if isinstance(config, dict) else config
    for entry in entries:
        options = entry["config"]
        if not isinstance(options, dict):
            continue
        policy = options.get("dtype")  # Keras 2 writes text, or its own ``Policy``
        if isinstance(policy, dict) and policy.get("class_name") == "DTypePolicy":
            return True
        if entry["class_name"] == "InputLayer" and "batch_shape" in options:
            return True
    return False


def _parse_sequential(config: Config | list[Any], keras: int) -> Graph:
    if isinstance(config, list):  # Keras 1 and early 2 write the list alone
        config = {"layers": config}
    layers = [_parse_layer(entry, keras) for entry in config["layers"]]
    if not layers:
        raise PortError("The file holds a Sequential model without layers.")
    if layers[0].class_name != "InputLayer":
        layers.insert(0, _input_before(layers[0], config))
    names = [layer.name for layer in layers]
    calls = [Call(name, 0, (Ref(before),), {}) for before, name in pairwise(names)]
    return Graph(
        name=config.get("name", "sequential"),
        layers=_by_name(layers),
        calls=calls,
        inputs=[Ref(names[0])],
        outputs=[Ref(names[-1])],
    )


def _input_before(first: Layer, config: Config) -> Layer:
    """Return the input layer that a Sequential model leaves out."""
    shape = (
        first.config.get("batch_input_shape")  # Keras 1 and 2
        or first.config.get("batch_shape")  # Keras 3
        or config.get("build_input_shape")
    )
    if shape is None and first.inner is not None:
        shape = input_shape(first.inner.layers[first.inner.inputs[0].layer])
    if shape is None:
        raise PortError(
            "The Sequential model has no input shape: it was saved before it was built."
        )
    name = f"{first.name}_input"
    config = {"batch_shape": shape, "name": name}
    return Layer(name, "InputLayer", config, first.keras)


def input_shape(layer: Layer) -> list[int | None]:
    """Return the shape of an input layer, the batch first; ``None`` for a dimension
    that is free.

    Raises:
        PortError: the layer has no shape.
    """
    shape = layer.config.get("batch_shape") or layer.config.get("batch_input_shape")
    if not isinstance(shape, list | tuple):
        raise PortError(f"{layer} has no shape (batch_shape is {shape!r}).")
    return list(shape)


def _parse_functional(config: Config, keras: int) -> Graph:
    layers = [_parse_layer(entry, keras) for entry in config["layers"]]
    by_name = _by_name(layers)
    calls: list[Call] = []
    for layer, entry in zip(layers, config["layers"], strict=True):
        is_function = layer.class_name.startswith("op:")
        for index, node in enumerate(entry.get("inbound_nodes") or []):
            calls.append(parse_call(layer.name, index, node, is_function))
    inputs = refs_of(config["input_layers"])
    outputs = refs_of(config["output_layers"])
    models = {layer.name for layer in layers if layer.inner}
    calls, outputs = renumbered(calls, outputs, models)
    starts = [layer.name for layer in layers if layer.class_name == "InputLayer"]
    return Graph(
        name=config.get("name", "model"),
        layers=by_name,
        calls=in_order(calls, starts),
        inputs=inputs,
        outputs=outputs,
    )


def _by_name(layers: list[Layer]) -> dict[str, Layer]:
    by_name: dict[str, Layer] = {}
    repeated = set()
    for layer in layers:
        if layer.name in by_name:
            repeated.add(layer.name)
        by_name[layer.name] = layer
    if repeated:
        raise PortError(
            f"Several layers are called {', '.join(sorted(repeated))}; the weights "
            "could not be assigned to them."
        )
    return by_name


def _parse_layer(entry: Config, keras: int) -> Layer:
    config = entry["config"]
    kind = _class_of(entry)
    options = config if isinstance(config, dict) else {}  # a list in Keras 1
    name = entry.get("name") or options.get("name")
    if kind in MODEL_CLASSES:
        inner = parse_graph(entry, keras)
        kept = {}
        if "trainable" in options:
            kept["trainable"] = options["trainable"]
        return Layer(name or inner.name, kind, kept, keras, inner=inner)
    if keras == 1:
        kind, config = modern_layer(kind, config)
    if keras >= 3 and kind != "InputLayer" and _is_operation(entry, config):
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind)  # ExpandDims
        kind = f"op:{snake.lower()}"
    elif kind in ("TFOpLambda", "SlicingOpLambda"):
        function = str(config["function"]).split(".")[-1]  # math.reduce_mean
        kind = f"op:{function}"
    layer = Layer(str(name), kind, config, keras)
    layer.children = _wrapped(layer)
    return layer


def _class_of(entry: Config) -> str:
    """Return a layer's class, ``package>Class`` if it is not one of Keras, whatever it
    is called.
    """
    kind = str(entry["class_name"])
    registered = str(entry.get("registered_name") or "")
    of_keras = str(entry.get("module")).startswith(("keras.", "tf_keras."))
    if not registered or of_keras or kind in MODEL_CLASSES:
        return kind
    if ">" in registered:
        return registered
    return f"custom>{registered}"


def _is_operation(entry: Config, config: Config) -> bool:
    """Whether Keras 3 wrote a function, which may have the name of a layer."""
    module = str(entry.get("module", ""))
    if module:
        return module.startswith(("keras.src.ops", "keras.ops"))
    # whole HDF5 files leave the module out, and SpatialDropout1D "trainable"
    return "trainable" not in config and "seed" not in config


def _wrapped(layer: Layer) -> dict[str, Layer]:
    """Parse the layers that a wrapper holds in its configuration."""
    config = layer.config
    if not isinstance(config.get("layer"), dict):
        return {}
    first = _parse_layer(config["layer"], layer.keras)
    if layer.class_name != "Bidirectional":
        return {"layer": first}
    if config.get("backward_layer"):
        second = _parse_layer(config["backward_layer"], layer.keras)
    else:
        backwards = not first.config.get("go_backwards", False)
        options = first.config | {"go_backwards": backwards}
        second = Layer(first.name, first.class_name, options, layer.keras)
    return {"forward_layer": first, "backward_layer": second}


def mask_problems(graph: Graph) -> Iterator[str]:
    """Yield each embedding that makes a mask in a model where some layer would use one.

    A mask follows a tensor through most layers, so any user in the model counts,
    whether or not it comes after.
    """
    layers = list(walk(graph.layers))
    users = [path for path, layer in layers if layer.class_name in MASK_USERS]
    if not users:
        return
    for path, layer in layers:
        if layer.class_name == "Embedding" and layer.config.get("mask_zero"):
            yield (
                f"{path} (Embedding): mask_zero=True makes a mask, which {users[0]} "
                "may use (only False, or True in a model without layers that use masks)"
            )
