"""A Keras model as a table: a row a call of a layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ecgnb.port.inspection.options import options_text
from ecgnb.port.inspection.shapes import Shape, Shapes
from ecgnb.port.layers import LAYERS, variables_of
from ecgnb.port.layers.activation import activation_name
from ecgnb.port.reading.graph import Call, Graph, Layer, Ref, refs_in, walk

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

Row = dict[str, Any]


def layer_rows(
    graph: Graph,
    shapes: Shapes,
    problems: list[str],
    counted: bool | None,
    prefix: str = "",
) -> Iterator[Row]:
    """Yield a row for each input and each call, those of a nested model after its own.

    Args:
        graph: whose layers hold the arrays that could be read.
        shapes: as far as they are known.
        problems: of `problems_in`; told at the layer they begin with.
        counted: whether layers hold all their arrays (True), all but those of unknown
            classes (False), or perhaps not all of any layer (``None``).
        prefix: path of a nested model.
    """
    if not prefix:
        for ref in graph.inputs:
            yield _row(
                ref.layer,
                graph.layers[ref.layer],
                output=shape_words(shapes.inputs.get(ref.layer, (None,))[1:]),
            )
    for call in graph.calls:
        layer, label = graph.layers[call.layer], prefix + call.label
        why = [
            text
            for text in problems
            if text.startswith((f"{prefix}{layer.name} (", f"{label} ("))
        ]
        yield _row(
            label,
            layer,
            options="the same weights" if call.index else options_text(layer),
            output=shape_words(_shape(graph, call, shapes, prefix)),
            parameters=_parameters(layer, counted) if not call.index else 0,
            takes=", ".join(
                dict.fromkeys(
                    prefix + _label(ref) for ref in refs_in([call.args, call.kwargs])
                )
            ),
            problem="; ".join(text.split(": ", 1)[-1] for text in why),
        )
        if layer.inner and not call.index:
            yield from layer_rows(
                layer.inner, shapes, problems, counted, f"{prefix}{layer.name}/"
            )


def _row(label: str, layer: Layer, parameters: int | None = 0, **texts: str) -> Row:
    said = (
        activation_name(layer.config["activation"])
        if "activation" in layer.config
        else ""
    )
    row = {
        "layer": label,
        "class": layer.class_name,
        "parameters": parameters,
        "activation": said,
        **texts,
    }
    return {column: row.get(column, "") for column in COLUMNS}


def _label(ref: Ref) -> str:
    return Call(ref.layer, ref.call, (), {}).label


def _shape(graph: Graph, call: Call, shapes: Shapes, prefix: str) -> Shape | None:
    """Return the shape of a call's first output; a nested model's is that of its last
    layer.
    """
    inner = graph.layers[call.layer].inner
    if inner is None:
        return shapes.calls.get(prefix + call.label)
    prefix, first = f"{prefix}{call.label}/", inner.outputs[0]
    return _shape(inner, Call(first.layer, first.call, (), {}), shapes, prefix)


def outputs_of(graph: Graph, shapes: Shapes) -> list[tuple[str, Shape | None, str]]:
    """Return name, shape (``None``: unknown) and last activation of each output."""
    ends = shapes.activations or ("unknown",) * len(graph.outputs)
    calls = [Call(ref.layer, ref.call, (), {}) for ref in graph.outputs]
    return [
        (call.label, _shape(graph, call, shapes, ""), end)
        for call, end in zip(calls, ends, strict=True)
    ]


def _parameters(layer: Layer, counted: bool | None) -> int | None:
    """Count a layer's numbers; ``None`` where they are not known."""
    arrays = [array for _, array in arrays_of(layer)]
    known = layer.class_name in (*LAYERS, "InputLayer") or bool(layer.children)
    if layer.inner or layer.class_name == "InputLayer":
        return 0
    return (
        None
        if counted is None or not (counted or known)
        else sum(array.size for array in arrays)
    )


def arrays_of(layer: Layer, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays of a layer and of those it wraps."""
    for name, array in layer.arrays.items():
        yield prefix + name, array
    for place, child in layer.children.items():
        yield from arrays_of(child, f"{prefix}{place}/")


def trainable_numbers(graph: Graph) -> int:
    """Count the numbers that training changes."""
    return sum(
        layer.arrays[each.name].size
        for _, layer in walk(graph.layers)
        for each in variables_of(layer)
        if each.trainable and layer.trainable and each.name in layer.arrays
    )


def shape_words(shape: Shape | None) -> str:
    """Return a shape as ``2000x64``; ``?`` for a free dimension, an empty text for an
    unknown shape.
    """
    return (
        ""
        if shape is None
        else "x".join("?" if size is None else str(size) for size in shape)
    )
