"""A Keras model as a table: one row per call of a layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ecgnb.port.inspection.shapes import Shape, Shapes
from ecgnb.port.layers import LAYERS, variables_of
from ecgnb.port.layers.activation import activation_name
from ecgnb.port.layers.base import WITHOUT_EFFECT
from ecgnb.port.network import size_texts
from ecgnb.port.reading.calls import Call, Ref
from ecgnb.port.reading.graph import Graph, Layer, walk

COLUMNS = [
    "layer",
    "class",
    "options",
    "output",
    "parameters",
    "activation",
    "takes",
    "problem",
]
#: Formats of options, in the order of the text; other options are ``name=value``.
_FORMATS = {
    "filters": "{} filters",
    "units": "{} units",
    "kernel_size": "k{}",
    "pool_size": "pool {}",
    "strides": "s{}",
    "padding": "{}",
    "dilation_rate": "dilation {}",
    "groups": "{} groups",
    "rate": "rate {}",
    "epsilon": "eps {}",
    "momentum": "momentum {}",
    "merge_mode": "{}",
    "activation": "{}",
}
#: Options that do not change the model, or that follow from others.
_HIDDEN = {
    *WITHOUT_EFFECT,
    "renorm_momentum",
    "fused",
    "unit_forget_bias",
    "zero_output_for_mask",
    "input_dtype",
    "function",
}
#: Values that are not shown, since everybody expects them.
_USUAL: dict[str, tuple[Any, ...]] = {
    "dilation_rate": (1,),
    "groups": (1,),
    "center": (True,),
    "scale": (True,),
    "data_format": ("channels_last",),
    "axis": (-1, 2),
    "activation": ("linear",),
    "rank": (1,),
    "implementation": (1, 2),
    "recurrent_activation": ("sigmoid",),
}

Row = dict[str, Any]


def layer_rows(
    graph: Graph,
    shapes: Shapes,
    problems: list[str],
    all_arrays: bool | None,
    prefix: str = "",
) -> Iterator[Row]:
    """Yield one row for each input and call; a nested model's rows follow its own.

    Args:
        graph: its layers hold the arrays that could be read.
        shapes: as far as they are known.
        problems: from `problems_in`; shown at the layer that they begin with.
        all_arrays: whether layers hold all their arrays (True), all but those of
            unknown classes (False), or perhaps not all of any layer (``None``).
        prefix: path of a nested model.
    """
    if not prefix:  # a nested model's inputs are outputs of other layers
        for ref in graph.inputs:
            shape = shapes.inputs.get(ref.layer, (None,))
            layer = graph.layers[ref.layer]
            yield _row(ref.layer, layer, output=shape_text(shape[1:]))
    for call in graph.calls:
        layer = graph.layers[call.layer]
        label = prefix + call.label
        sources = dict.fromkeys(prefix + _call(ref).label for ref in call.refs)
        reasons = []
        for problem in problems:
            if problem.startswith((f"{prefix}{layer.name} (", f"{label} (")):
                reasons.append(problem.split(": ", 1)[-1])
        row = _row(
            label,
            layer,
            options=options_text(layer),
            output=shape_text(_shape(graph, call, shapes, prefix)),
            parameters=_parameters(layer, all_arrays),
            takes=", ".join(sources),
            problem="; ".join(reasons),
        )
        if call.index:  # a second call
            row |= {"options": "the same weights", "parameters": 0}
        yield row
        if layer.inner and not call.index:  # its rows once
            path = f"{prefix}{layer.name}/"
            yield from layer_rows(layer.inner, shapes, problems, all_arrays, path)


def _row(label: str, layer: Layer, parameters: int | None = 0, **texts: str) -> Row:
    row: Row = dict.fromkeys(COLUMNS, "")
    row |= {"layer": label, "class": layer.class_name, "parameters": parameters}
    if "activation" in layer.config:
        row["activation"] = activation_name(layer.config["activation"])
    return row | texts


def _call(ref: Ref) -> Call:
    return Call(ref.layer, ref.call, (), {})


def _shape(graph: Graph, call: Call, shapes: Shapes, prefix: str) -> Shape | None:
    """Return the shape of a call's first output; a nested model's is that of its last
    layer.
    """
    label = prefix + call.label
    inner = graph.layers[call.layer].inner
    if inner is None:
        return shapes.calls.get(label)
    return _shape(inner, _call(inner.outputs[0]), shapes, f"{label}/")


def outputs_of(graph: Graph, shapes: Shapes) -> list[tuple[str, Shape | None, str]]:
    """Return name, shape (``None``: unknown) and last activation of each output."""
    activations = shapes.activations or ("unknown",) * len(graph.outputs)
    outputs = []
    for ref, activation in zip(graph.outputs, activations, strict=True):
        call = _call(ref)
        shape = _shape(graph, call, shapes, prefix="")
        outputs.append((call.label, shape, activation))
    return outputs


def _parameters(layer: Layer, all_arrays: bool | None) -> int | None:
    """Count a layer's numbers; ``None`` where they are not known."""
    if layer.inner or layer.class_name == "InputLayer":
        return 0
    known_class = layer.class_name in LAYERS or bool(layer.children)
    if all_arrays is None or not (all_arrays or known_class):
        return None  # not 0, which would be a layer without weights
    return sum(array.size for _, array in arrays_of(layer))


def arrays_of(layer: Layer, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays of a layer and of those it wraps."""
    for name, array in layer.arrays.items():
        yield prefix + name, array
    for role, child in layer.children.items():
        yield from arrays_of(child, f"{prefix}{role}/")


def trainable_numbers(graph: Graph) -> int:
    """Count the numbers that training changes."""
    total = 0
    for _, layer in walk(graph.layers):
        for variable in variables_of(layer):
            trainable = variable.trainable and layer.trainable
            if trainable and variable.name in layer.arrays:
                total += layer.arrays[variable.name].size
    return total


def shape_text(shape: Shape | None) -> str:
    """Return a shape as ``2000x64``; ``?`` for a free dimension, an empty text for an
    unknown shape.
    """
    return "x".join(size_texts(shape or (), free="?"))


def options_text(layer: Layer) -> str:
    """Return a layer's options that matter, those of a wrapped layer included.

    >>> options = {"filters": 8, "kernel_size": [3], "strides": [1], "use_bias": False}
    >>> options_text(Layer("c", "Conv1D", options, 2))
    '8 filters, k3, s1, no bias'
    """
    if layer.inner:
        return f"of {len(layer.inner.calls)} layers"
    texts = list(_option_texts(layer.config))
    for child in layer.children.values():
        texts.append(f"{child.class_name} {options_text(child)}".strip())
        break  # both directions of a Bidirectional are alike
    return ", ".join(texts)


def _option_texts(config: dict[str, Any]) -> Iterator[str]:
    names = [name for name in _FORMATS if name in config]
    names += [name for name in config if name not in _FORMATS]
    for name in names:
        value = config[name]
        if name == "use_bias":
            if not value:
                yield "no bias"
            continue
        if isinstance(value, list) and len(value) == 1:
            (value,) = value  # [3] is a kernel size in one dimension
        if name in _HIDDEN or value in _USUAL.get(name, ()):
            continue
        # Dictionaries hold other objects, such as initialisers.
        if value is None or value is False or isinstance(value, dict):
            continue
        if isinstance(value, float):
            if value == 0:  # a rate or slope without effect
                continue
            value = f"{value:g}"
        yield _FORMATS.get(name, name + "={}").format(value)
