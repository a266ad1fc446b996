"""Shapes in a Keras model, also in the part before a layer that cannot be ported."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch

from ecgnb.core.errors import PortError
from ecgnb.port.build import GraphWriter, problems_of, write_graph
from ecgnb.port.network import CHANNELS_FIRST
from ecgnb.port.reading.graph import Graph, Ref, input_shape, walk

#: A shape; ``None`` where the model leaves it free.
Shape = tuple[int | None, ...]

#: Two sizes for free dimensions: what differs between them is free.
_SIZES = (1000, 2000)


@dataclass(frozen=True)
class Shapes:
    """Shapes in Keras' layout.

    Attributes:
        inputs: name and shape of each input, the batch first.
        calls: shape of the first output of each call by its label, without the batch.
        activations: last activation of each output; empty when not all of the model is
            known.
        problem: why the model cannot be built although its layers are known; else
            empty.
    """

    inputs: dict[str, Shape] = field(default_factory=dict)
    calls: dict[str, Shape] = field(default_factory=dict)
    activations: tuple[str, ...] = ()
    problem: str = ""


def shapes_of(graph: Graph) -> Shapes:
    """Build the model, as far as its layers are known, and run it on zeros."""
    inputs: dict[str, Shape] = {}
    try:
        for ref in graph.inputs:
            layer = graph.layers[ref.layer]
            inputs[ref.layer] = tuple(input_shape(layer))
    except PortError as error:
        return Shapes(problem=str(error))
    known = _known_part(graph)
    free = any(None in shape[1:] for shape in inputs.values())
    sizes = _SIZES if free else _SIZES[:1]
    try:
        # Building draws initial weights; the caller's generator must not advance.
        with torch.random.fork_rng(devices=[]):
            written = [write_graph(_with_size(known, size), "NTC") for size in sizes]
    except PortError as error:
        return Shapes(inputs, problem=str(error))
    calls = _call_shapes(written[0])
    other_calls = _call_shapes(written[-1])
    for label, shape in calls.items():
        both = zip(shape, other_calls[label], strict=True)
        calls[label] = tuple(n if n == other else None for n, other in both)
    if known.calls != graph.calls:  # the outputs are not known
        return Shapes(inputs, calls)
    return Shapes(inputs, calls, written[0].activations())


def _known_part(graph: Graph) -> Graph:
    """Leave out layers that cannot be ported, and all that depend on them."""
    unknown = set()
    for name, top_layer in graph.layers.items():
        for path, layer in walk({name: top_layer}):
            if any(problems_of(path, layer)):  # also deep in a nested model
                unknown.add(name)
    computed = set(map(_call_key, graph.inputs))
    calls = []
    for call in graph.calls:
        sources = map(_call_key, call.refs)
        if call.layer not in unknown and computed.issuperset(sources):
            calls.append(call)
            computed.add((call.layer, call.index))
    outputs = graph.inputs  # a graph needs outputs; these are always known
    if computed.issuperset(map(_call_key, graph.outputs)):
        outputs = graph.outputs
    return dataclasses.replace(graph, calls=calls, outputs=outputs)


def _call_key(ref: Ref) -> tuple[str, int]:
    """Return the call that makes a tensor, whichever of its outputs it is."""
    return ref.layer, ref.call


def _with_size(graph: Graph, size: int) -> Graph:
    """Set the free dimensions of all inputs."""
    layers = dict(graph.layers)
    for ref in graph.inputs:
        layer = layers[ref.layer]
        _, *sizes = input_shape(layer)
        sizes = [size if n is None else n for n in sizes]
        config = {**layer.config, "batch_shape": [None, *sizes]}
        layers[ref.layer] = dataclasses.replace(layer, config=config)
    return dataclasses.replace(graph, layers=layers)


def _call_shapes(written: GraphWriter) -> dict[str, Shape]:
    shapes = {}
    for node in written.network.graph.nodes:
        if "keras" in node.meta and "shape" in node.meta:
            _, *sizes = node.meta["shape"]
            if node.meta["layout"] == CHANNELS_FIRST:
                sizes.reverse()  # [C, T] -> [T, C]
            shapes[node.meta["keras"]] = tuple(sizes)
    return shapes
