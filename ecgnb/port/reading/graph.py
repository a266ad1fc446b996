"""Keras model configuration as layers and calls, the same for Keras 1, 2 and 3."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from ecgnb.core.errors import PortError
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


@dataclass(frozen=True)
class Ref:
    """One tensor: output ``output`` of call number ``call`` of a layer."""

    layer: str
    call: int = 0
    output: int = 0


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
    """One call of a layer; `args` and `kwargs` hold a `Ref` for each tensor."""

    layer: str
    index: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def label(self) -> str:
        """The layer's name, with ``@1`` for its second call."""
        return f"{self.layer}@{self.index}" if self.index else self.layer

    @property
    def refs(self) -> list[Ref]:
        """The tensors among its arguments."""
        return [*refs_in(self.args), *refs_in(self.kwargs)]


@dataclass
class Graph:
    """A model: layers, their calls in executable order, inputs and outputs."""

    name: str
    layers: dict[str, Layer]
    calls: list[Call]
    inputs: list[Ref]
    outputs: list[Ref]


def map_nested(value: Any, function: Callable[[Any], Any]) -> Any:
    """Replace items of nested lists, tuples and dictionaries.

    Args:
        value: the outermost container, or one item.
        function: returns what replaces an item or container; a container that it
            returns unchanged is searched for more.
    """
    replaced = function(value)
    if replaced is not value:
        return replaced
    if isinstance(value, dict):
        return {key: map_nested(item, function) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([map_nested(item, function) for item in value])
    return value


def refs_in(value: Any) -> Iterator[Ref]:
    """Yield every tensor in the arguments of a call."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from refs_in(item)
    elif isinstance(value, dict):
        yield from refs_in(list(value.values()))


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


def parse_graph(config: dict[str, Any], keras: int) -> Graph:
    """Read the configuration of a model.

    Args:
        config: ``class_name`` and ``config``, as in `KerasFile`.
        keras: major version of the Keras that wrote it.

    Raises:
        PortError: the model is a subclassed one, without a graph, or the configuration
            contradicts itself.
    """
    kind, options = config["class_name"], config["config"]
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
        policy = options.get("dtype")
        if isinstance(policy, dict) and policy.get("class_name") == "DTypePolicy":
            return True
        if entry["class_name"] == "InputLayer" and "batch_shape" in options:
            return True
    return False


def _parse_sequential(config: dict[str, Any] | list[Any], keras: int) -> Graph:
    if isinstance(config, list):  # Keras 1 and early 2 write the list alone
        config = {"layers": config}
    layers = [_parse_layer(entry, keras) for entry in config["layers"]]
    if not layers:
        raise PortError("The file holds a Sequential model without layers.")
    if layers[0].class_name != "InputLayer":
        layers.insert(0, _input_before(layers[0], config))
    names = [layer.name for layer in layers]
    calls = [Call(name, 0, (Ref(before),), {}) for before, name in pairwise(names)]
    ends = [Ref(names[0])], [Ref(names[-1])]
    return Graph(config.get("name", "sequential"), _by_name(layers), calls, *ends)


def _input_before(first: Layer, config: dict[str, Any]) -> Layer:
    """Return the input layer that a Sequential model leaves out."""
    shape = (
        first.config.get("batch_input_shape")
        or first.config.get("batch_shape")
        or config.get("build_input_shape")
    )
    if shape is None and first.inner is not None:
        shape = input_shape(first.inner.layers[first.inner.inputs[0].layer])
    if shape is None:
        raise PortError(
            "The Sequential model has no input shape: it was saved before it was built."
        )
    name = f"{first.name}_input"
    options = {"batch_shape": shape, "name": name}
    return Layer(name, "InputLayer", options, first.keras)


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


def _parse_functional(config: dict[str, Any], keras: int) -> Graph:
    layers = [_parse_layer(entry, keras) for entry in config["layers"]]
    by_name = _by_name(layers)
    calls: list[Call] = []
    for layer, entry in zip(layers, config["layers"], strict=True):
        for index, node in enumerate(entry.get("inbound_nodes") or []):
            calls.append(_parse_call(layer, index, node))
    inputs, outputs = _refs(config["input_layers"]), _refs(config["output_layers"])
    models = {layer.name for layer in layers if layer.inner}
    calls, outputs = _renumbered(calls, outputs, models)
    ordered = _in_order(calls, [layer for layer in layers if _is_input(layer)])
    return Graph(config.get("name", "model"), by_name, ordered, inputs, outputs)


def _is_input(layer: Layer) -> bool:
    return layer.class_name == "InputLayer"


def _renumbered(
    calls: list[Call], outputs: list[Ref], models: set[str]
) -> tuple[list[Call], list[Ref]]:
    """Number the calls of nested models from 0: Keras 2 counts the construction of a
    model as its first call.
    """
    first: dict[str, int] = {}
    for ref in [*outputs, *(ref for call in calls for ref in call.refs)]:
        if ref.layer in models:
            first[ref.layer] = min(first.get(ref.layer, ref.call), ref.call)

    def renumber(value: Any) -> Any:
        if not isinstance(value, Ref):
            return value
        return Ref(value.layer, value.call - first.get(value.layer, 0), value.output)

    renumbered = [
        Call(
            call.layer,
            call.index,
            map_nested(call.args, renumber),
            map_nested(call.kwargs, renumber),
        )
        for call in calls
    ]
    return renumbered, map_nested(outputs, renumber)


def _by_name(layers: list[Layer]) -> dict[str, Layer]:
    names = [layer.name for layer in layers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise PortError(
            f"Several layers are called {', '.join(repeated)}; the weights could not "
            "be assigned to them."
        )
    return dict(zip(names, layers, strict=True))


def _parse_layer(entry: dict[str, Any], keras: int) -> Layer:
    config, kind = entry["config"], _class_of(entry)
    options = config if isinstance(config, dict) else {}
    name = entry.get("name") or options.get("name")
    if kind in MODEL_CLASSES:
        inner = parse_graph(entry, keras)
        kept = {key: options[key] for key in ("trainable",) if key in options}
        return Layer(name or inner.name, kind, kept, keras, inner=inner)
    if keras == 1:
        kind, config = modern_layer(kind, config)
    if keras >= 3 and kind != "InputLayer" and _is_operation(entry, config):
        kind = "op:" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
    elif kind in ("TFOpLambda", "SlicingOpLambda"):
        kind = "op:" + str(config["function"]).split(".")[-1]
    layer = Layer(str(name), kind, config, keras)
    layer.children = _wrapped(layer)
    return layer


def _class_of(entry: dict[str, Any]) -> str:
    """Return a layer's class, ``package>Class`` if it is not one of Keras, whatever it
    is called.
    """
    kind, registered = str(entry["class_name"]), entry.get("registered_name")
    of_keras = str(entry.get("module")).startswith(("keras.", "tf_keras."))
    if not registered or of_keras or kind in MODEL_CLASSES:
        return kind
    return str(registered) if ">" in str(registered) else f"custom>{registered}"


def _is_operation(entry: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether Keras 3 wrote a function, which may have the name of a layer."""
    module = str(entry.get("module", ""))
    if module:
        return module.startswith(("keras.src.ops", "keras.ops"))
    # whole HDF5 files leave the module out, and SpatialDropout1D "trainable"
    return "trainable" not in config and "seed" not in config


def _wrapped(layer: Layer) -> dict[str, Layer]:
    """Parse the layers that a wrapper holds in its configuration."""
    config, keras = layer.config, layer.keras
    if not isinstance(config.get("layer"), dict):
        return {}
    first = _parse_layer(config["layer"], keras)
    if layer.class_name != "Bidirectional":
        return {"layer": first}
    if config.get("backward_layer"):
        second = _parse_layer(config["backward_layer"], keras)
    else:
        backwards = not first.config.get("go_backwards", False)
        options = {**first.config, "go_backwards": backwards}
        second = Layer(first.name, first.class_name, options, keras)
    return {"forward_layer": first, "backward_layer": second}


def _parse_call(layer: Layer, index: int, node: Any) -> Call:
    """Read a node: of Keras 3 ``{args, kwargs}``, of Keras 1 and 2 ``[[layer, node,
    tensor, kwargs], ...]`` or one such entry alone.
    """
    if isinstance(node, dict) and "args" in node:
        kwargs = map_nested(node.get("kwargs") or {}, _ref_3)
        return Call(layer.name, index, tuple(map_nested(node["args"], _ref_3)), kwargs)
    if isinstance(node, dict):  # a nested model that is called with a dictionary
        named = {key: map_nested(entry[:3], _ref_2) for key, entry in node.items()}
        return Call(layer.name, index, (named,), {})
    alone = bool(node) and isinstance(node[0], str)
    entries = [node] if alone else node
    tensors = [map_nested(entry[:3], _ref_2) for entry in entries]
    kwargs = map_nested(entries[0][3] if len(entries[0]) > 3 else {}, _ref_2)
    # a function takes a list of one tensor as a list, a layer as the tensor
    single = alone or len(tensors) == 1
    if layer.class_name.startswith("op:"):
        kwargs.pop("name", None)
        single = alone
    return Call(layer.name, index, (tensors[0] if single else tensors,), kwargs)


def _ref_3(value: Any) -> Any:
    """Return the `Ref` for an object with which Keras 3 writes a tensor."""
    kind = value.get("class_name") if isinstance(value, dict) else None
    if kind == "__keras_tensor__":
        return Ref(*value["config"]["keras_history"])
    if kind == "__tuple__":
        return tuple(map_nested(value["items"], _ref_3))
    return value


def _ref_2(value: Any) -> Any:
    """Return the `Ref` for ``[layer, node, tensor]`` of Keras 2, the value of
    ``["_CONSTANT_VALUE", -1, value]``.
    """
    if not isinstance(value, list) or len(value) < 3:
        return value
    if value[0] == "_CONSTANT_VALUE":
        return value[2]
    numbered = all(type(number) is int for number in value[1:3])
    if len(value) <= 4 and isinstance(value[0], str) and numbered:
        return Ref(*value[:3])
    return value


def _refs(listed: Any) -> list[Ref]:
    """Read ``input_layers`` or ``output_layers``: one entry, a list of them, or a
    dictionary.
    """
    if isinstance(listed, dict):  # Keras takes dictionaries in the order of their keys
        listed = [listed[key] for key in sorted(listed)]
    if listed and isinstance(listed[0], str):
        return [Ref(*listed[:3])]
    return [ref for entry in listed for ref in _refs(entry)]


def _in_order(calls: list[Call], inputs: list[Layer]) -> list[Call]:
    """Sort calls so that each comes after those whose tensors it takes."""
    ready = {(layer.name, 0) for layer in inputs}
    waiting, ordered = list(calls), []
    while waiting:
        now = []
        for call in waiting:
            if ready.issuperset((ref.layer, ref.call) for ref in call.refs):
                now.append(call)
        if not now:
            raise PortError(
                f"The graph is broken: {waiting[0].label} takes a tensor that no layer "
                "makes."
            )
        ordered += now
        ready.update((call.layer, call.index) for call in now)
        waiting = [call for call in waiting if call not in now]
    return ordered


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
