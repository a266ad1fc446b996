"""A Keras model as layers and calls: one neutral form for what Keras 1, 2 and 3 write
differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from ecgnb.core.errors import PortError
from ecgnb.port.reading.keras1 import modern_layer

#: Classes that are models within models.
MODEL_CLASSES = ("Sequential", "Functional", "Model")


@dataclass(frozen=True)
class Ref:
    """One tensor: output ``output`` of call number ``call`` of a layer."""

    layer: str
    call: int = 0
    output: int = 0


@dataclass
class Layer:
    """One layer, whatever number of times it is called.

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
    config: dict[str, Any]
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


@dataclass(frozen=True)
class Call:
    """One call of a layer; ``args`` and ``kwargs`` hold `Ref` where a tensor goes
    in.
    """

    layer: str
    index: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def label(self) -> str:
        """The layer's name, with ``@1`` for its second call."""
        return f"{self.layer}@{self.index}" if self.index else self.layer


@dataclass
class Graph:
    """A model: its layers, their calls in an order that can be executed, its inputs and
    outputs.
    """

    name: str
    layers: dict[str, Layer]
    calls: list[Call]
    inputs: list[Ref]
    outputs: list[Ref]


def parse_graph(config: dict[str, Any], keras: int) -> Graph:
    """Read the configuration of a model.

    Args:
        config: ``class_name`` and ``config``, as in `KerasFile`.
        keras: major version of the Keras that wrote it.

    Raises:
        PortError: the model is a subclassed one, without a graph, or the configuration
            contradicts itself.
    """
    kind, inner = config["class_name"], config["config"]
    keras = 3 if keras < 3 and _written_by_keras_3(inner) else keras
    if kind == "Sequential":
        return _parse_sequential(inner, keras)
    if kind in MODEL_CLASSES or (isinstance(inner, dict) and "input_layers" in inner):
        return _parse_functional(inner, keras)
    raise PortError(
        f"The file holds a model of the class {kind!r}, whose code is not in the file. Only Sequential and functional "
        "models can be ported: rebuild it as one, copy the weights, and save that."
    )


def _written_by_keras_3(config: Any) -> bool:
    """Tell from the words: a ``model.json`` of Keras 3 does not say of which version it
    is.
    """
    listed = config.get("layers", []) if isinstance(config, dict) else config
    configs = [entry["config"] for entry in listed if isinstance(entry["config"], dict)]
    policies = [
        config["dtype"] for config in configs if isinstance(config.get("dtype"), dict)
    ]
    return any(policy.get("class_name") == "DTypePolicy" for policy in policies) or any(
        entry["class_name"] == "InputLayer" and "batch_shape" in entry["config"]
        for entry in listed
    )


def walk(layers: dict[str, Layer], prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield every layer with its path, nested and wrapped ones after the layer that
    holds them.
    """
    for layer in layers.values():
        yield prefix + layer.name, layer
        yield from walk(layer.children, f"{prefix}{layer.name}/")
        if layer.inner:
            yield from walk(layer.inner.layers, f"{prefix}{layer.name}/")


def _parse_sequential(config: dict[str, Any] | list[Any], keras: int) -> Graph:
    listed = (
        config if isinstance(config, list) else config["layers"]
    )  # Keras 1 and early 2 write the list alone
    layers = [_parse_layer(entry, keras) for entry in listed]
    if not layers:
        raise PortError("The file holds a Sequential model without layers.")
    if layers[0].class_name != "InputLayer":
        layers.insert(0, _input_of(layers[0], config, keras))
    names = [layer.name for layer in layers]
    _refuse_twins(names)
    calls = [Call(name, 0, (Ref(before),), {}) for before, name in pairwise(names)]
    name = (
        "sequential" if isinstance(config, list) else config.get("name", "sequential")
    )
    return Graph(
        name,
        {layer.name: layer for layer in layers},
        calls,
        [Ref(names[0])],
        [Ref(names[-1])],
    )


def _input_of(first: Layer, config: Any, keras: int) -> Layer:
    """Make the input layer that a Sequential model leaves unsaid."""
    shape = first.config.get("batch_input_shape") or first.config.get("batch_shape")
    if shape is None and isinstance(config, dict):
        shape = config.get("build_input_shape")
    if shape is None and first.inner is not None:
        shape = input_shape(first.inner.layers[first.inner.inputs[0].layer])
    if shape is None:
        raise PortError(
            "The Sequential model does not tell its input's shape: it was saved before it was built."
        )
    return Layer(
        f"{first.name}_input",
        "InputLayer",
        {"batch_shape": shape, "name": f"{first.name}_input"},
        keras,
    )


def input_shape(layer: Layer) -> list[int | None]:
    """Return the shape of an input layer, the batch first; ``None`` for a dimension
    that is free.

    Raises:
        PortError: the layer does not tell it.
    """
    shape = layer.config.get("batch_shape") or layer.config.get("batch_input_shape")
    if not isinstance(shape, list | tuple):
        raise PortError(f"{layer} does not tell its shape (batch_shape is {shape!r}).")
    return list(shape)


def _parse_functional(config: dict[str, Any], keras: int) -> Graph:
    entries = config["layers"]
    layers = [_parse_layer(entry, keras) for entry in entries]
    _refuse_twins([layer.name for layer in layers])
    calls = [
        call
        for layer, entry in zip(layers, entries, strict=True)
        for call in _parse_calls(layer, entry.get("inbound_nodes") or [])
    ]
    by_name = {layer.name: layer for layer in layers}
    inputs, outputs = _refs(config["input_layers"]), _refs(config["output_layers"])
    calls, outputs = _renumbered(
        calls, outputs, {layer.name for layer in layers if layer.inner}
    )
    return Graph(
        config.get("name", "model"), by_name, _in_order(calls, layers), inputs, outputs
    )


def _renumbered(
    calls: list[Call], outputs: list[Ref], models: set[str]
) -> tuple[list[Call], list[Ref]]:
    """Let the calls of nested models count from 0: Keras 2 counts how a model was made
    as its first call.
    """
    first: dict[str, int] = {}
    for ref in (*outputs, *refs_in([[call.args, call.kwargs] for call in calls])):
        if ref.layer in models:
            first[ref.layer] = min(first.get(ref.layer, ref.call), ref.call)

    def mended(value: Any) -> Any:
        if isinstance(value, Ref):
            return Ref(
                value.layer, value.call - first.get(value.layer, 0), value.output
            )
        if isinstance(value, dict):
            return {key: mended(item) for key, item in value.items()}
        return (
            type(value)(map(mended, value))
            if isinstance(value, list | tuple)
            else value
        )

    return [
        Call(c.layer, c.index, mended(c.args), mended(c.kwargs)) for c in calls
    ], mended(outputs)


def _refuse_twins(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PortError(
            f"Several layers are called {', '.join(twice)}; the weights could not be told apart."
        )


def _parse_layer(entry: dict[str, Any], keras: int) -> Layer:
    config = entry["config"]
    kind = _class_of(entry)
    name = entry.get("name") or (
        config.get("name") if isinstance(config, dict) else None
    )
    if kind in MODEL_CLASSES:
        inner = parse_graph(entry, keras)
        options = (
            {key: value for key, value in config.items() if key == "trainable"}
            if isinstance(config, dict)
            else {}
        )
        return Layer(name or inner.name, kind, options, keras, inner=inner)
    if keras == 1:
        kind, config = modern_layer(kind, config)
    if keras >= 3 and kind != "InputLayer" and _is_operation(entry, config):
        kind = "op:" + _snake(kind)
    elif kind in ("TFOpLambda", "SlicingOpLambda"):
        kind = "op:" + str(config["function"]).split(".")[-1]
    layer = Layer(str(name), kind, config, keras)
    layer.children = _wrapped(layer)
    return layer


def _class_of(entry: dict[str, Any]) -> str:
    """Return a layer's class, ``package>Class`` if it is not Keras' own: one of the
    same name may do anything.
    """
    kind, registered = str(entry["class_name"]), entry.get("registered_name")
    keras_own = not registered or str(entry.get("module")).startswith(
        ("keras.", "tf_keras.")
    )
    if keras_own or kind in MODEL_CLASSES:
        return kind
    return str(registered) if ">" in str(registered) else f"custom>{registered}"


def _is_operation(entry: dict[str, Any], config: dict[str, Any]) -> bool:
    """Tell functions from layers of Keras 3, which may have one name; whole HDF5 files
    leave the module out.
    """
    module = str(entry.get("module", ""))
    layered = (
        "trainable" in config or "seed" in config
    )  # SpatialDropout1D leaves "trainable" out
    return module.startswith(("keras.src.ops", "keras.ops")) or (
        not module and not layered
    )


def _wrapped(layer: Layer) -> dict[str, Layer]:
    """Parse the layers that a wrapper holds in its configuration."""
    config = layer.config
    if "layer" not in config or not isinstance(config["layer"], dict):
        return {}
    first = _parse_layer(config["layer"], layer.keras)
    if layer.class_name != "Bidirectional":
        return {"layer": first}
    if config.get("backward_layer"):
        return {
            "forward_layer": first,
            "backward_layer": _parse_layer(config["backward_layer"], layer.keras),
        }
    turned = {
        **first.config,
        "go_backwards": not first.config.get("go_backwards", False),
    }
    return {
        "forward_layer": first,
        "backward_layer": Layer(first.name, first.class_name, turned, layer.keras),
    }


def _parse_calls(layer: Layer, nodes: list[Any]) -> Iterator[Call]:
    for index, node in enumerate(nodes):
        if isinstance(node, dict) and "args" in node:  # Keras 3
            yield Call(
                layer.name,
                index,
                tuple(_tensors_3(node["args"])),
                _tensors_3(node.get("kwargs") or {}),
            )
        else:
            yield _parse_call_2(layer, index, node)


def _tensors_3(value: Any) -> Any:
    """Put a `Ref` where Keras 3 wrote a tensor, in lists and dictionaries alike."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return Ref(*value["config"]["keras_history"])
    if isinstance(value, dict) and value.get("class_name") == "__tuple__":
        return tuple(_tensors_3(item) for item in value["items"])
    if isinstance(value, dict):
        return {key: _tensors_3(item) for key, item in value.items()}
    return [_tensors_3(item) for item in value] if isinstance(value, list) else value


def _parse_call_2(layer: Layer, index: int, node: Any) -> Call:
    """Read a node of Keras 1 or 2: ``[[layer, node, tensor, kwargs], ...]``, or one
    such entry alone.

    A function writes a list that it takes as a list even if it has one entry; a layer
    does not.
    """
    if isinstance(node, dict):  # of a nested model that was called with a dictionary
        return Call(
            layer.name,
            index,
            ({key: _tensors_2(entry[:3]) for key, entry in node.items()},),
            {},
        )
    alone = bool(node) and isinstance(node[0], str)
    entries = [node] if alone else node
    tensors = [_tensors_2(entry[:3]) for entry in entries]
    kwargs = {
        key: _tensors_2(value)
        for key, value in (entries[0][3] if len(entries[0]) > 3 else {}).items()
    }
    if layer.class_name.startswith("op:"):
        kwargs.pop("name", None)
        return Call(layer.name, index, (tensors[0] if alone else tensors,), kwargs)
    return Call(
        layer.name, index, (tensors[0] if len(tensors) == 1 else tensors,), kwargs
    )


def _tensors_2(value: Any) -> Any:
    """Put a `Ref` where Keras 2 wrote ``[layer, node, tensor]`` or
    ``["_CONSTANT_VALUE", -1, value]``.
    """
    if isinstance(value, list) and len(value) >= 3 and value[0] == "_CONSTANT_VALUE":
        return value[2]
    if (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and _is_int(value[1], value[2])
    ):
        return Ref(*value[:3])
    if isinstance(value, dict):
        return {key: _tensors_2(item) for key, item in value.items()}
    return [_tensors_2(item) for item in value] if isinstance(value, list) else value


def _is_int(*values: Any) -> bool:
    return all(
        isinstance(value, int) and not isinstance(value, bool) for value in values
    )


def _refs(listed: Any) -> list[Ref]:
    """Read ``input_layers`` or ``output_layers``: one entry, a list of them, or a
    dictionary.
    """
    if isinstance(
        listed, dict
    ):  # Keras goes through dictionaries in the order of their keys
        return [ref for key in sorted(listed) for ref in _refs(listed[key])]
    if listed and isinstance(listed[0], str):
        return [Ref(*listed[:3])]
    return [ref for entry in listed for ref in _refs(entry)]


def refs_in(value: Any) -> Iterator[Ref]:
    """Yield every tensor in the arguments of a call."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from refs_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from refs_in(item)


def _in_order(calls: list[Call], layers: list[Layer]) -> list[Call]:
    """Sort calls so that each stands after those whose tensors it takes."""
    ready = {(layer.name, 0) for layer in layers if layer.class_name == "InputLayer"}
    waiting, ordered = list(calls), []
    while waiting:
        now = [
            call
            for call in waiting
            if all(
                (r.layer, r.call) in ready for r in refs_in([call.args, call.kwargs])
            )
        ]
        if not now:
            raise PortError(
                f"The graph is broken: {waiting[0].label} takes a tensor that no layer makes."
            )
        ordered += now
        ready |= {(call.layer, call.index) for call in now}
        waiting = [call for call in waiting if call not in now]
    return ordered


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


#: Layers whose output changes when their input comes with a mask.
USERS = frozenset(
    [
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
    ]
)


def mask_problems(graph: Graph) -> Iterator[str]:
    """Yield each embedding that makes a mask in a model where some layer would use one.

    A mask goes with a tensor through most layers, so any user in the model counts,
    whether or not it comes after.
    """
    layers = list(walk(graph.layers))
    users = [path for path, layer in layers if layer.class_name in USERS]
    for path, layer in layers:
        if layer.class_name == "Embedding" and layer.config.get("mask_zero") and users:
            yield (
                f"{path} (Embedding): mask_zero=True makes a mask, which {users[0]} may use "
                "(only False, or True in a model without layers that use masks)"
            )
