"""The shapes in a Keras model, also in the part of it that comes before what cannot be
ported.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch

from ecgnb.core.errors import PortError
from ecgnb.port.build import GraphWriter, before_activation, problems_of, write_graph
from ecgnb.port.network import CHANNELS_FIRST
from ecgnb.port.reading.graph import Graph, Layer, input_shape, refs_in, walk

#: A shape; ``None`` where the model leaves it free.
Shape = tuple[int | None, ...]

#: What is put in the place of free dimensions: two sizes, since what differs between
#: them is free.
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
    """Find the shapes by building the model, as far as its layers are known, and
    running it on zeros.
    """
    try:
        inputs = {
            ref.layer: tuple(input_shape(graph.layers[ref.layer]))
            for ref in graph.inputs
        }
    except PortError as error:
        return Shapes(problem=str(error))
    part = _known_part(graph)
    free = any(None in shape[1:] for shape in inputs.values())
    try:
        written = [
            _write(_sized(part, size)) for size in (_SIZES if free else _SIZES[:1])
        ]
    except PortError as error:
        return Shapes(inputs, problem=str(error))
    calls = {
        label: _common([_calls(each)[label] for each in written])
        for label in _calls(written[0])
    }
    modules = dict(written[0].network.root.named_modules())
    ends = [before_activation(value.node, modules)[1] for value in written[0].outputs]
    return Shapes(inputs, calls, tuple(ends) if part.calls == graph.calls else ())


def _known_part(graph: Graph) -> Graph:
    """Leave out layers that cannot be ported, and all that hangs on them."""
    bad = {
        name
        for name, layer in graph.layers.items()
        if any(
            True for path, each in walk({name: layer}) for _ in problems_of(path, each)
        )
    }
    made = {(ref.layer, ref.call) for ref in graph.inputs}
    calls = []
    for call in graph.calls:
        if call.layer not in bad and all(
            (ref.layer, ref.call) in made for ref in refs_in([call.args, call.kwargs])
        ):
            calls.append(call)
            made.add((call.layer, call.index))
    whole = all((ref.layer, ref.call) in made for ref in graph.outputs)
    return dataclasses.replace(
        graph, calls=calls, outputs=graph.outputs if whole else graph.inputs
    )


def _sized(graph: Graph, size: int) -> Graph:
    """Fill the free dimensions of all inputs."""
    layers = dict(graph.layers)
    for ref in graph.inputs:
        old = layers[ref.layer]
        shape = [
            None,
            *(size if each is None else each for each in input_shape(old)[1:]),
        ]
        layers[ref.layer] = Layer(
            old.name, old.class_name, {**old.config, "batch_shape": shape}, old.keras
        )
    return dataclasses.replace(graph, layers=layers)


def _write(graph: Graph) -> GraphWriter:
    with torch.random.fork_rng(
        devices=[]
    ):  # the modules' own first weights must not move the user's random numbers
        return write_graph(graph, "NTC")


def _calls(written: GraphWriter) -> dict[str, Shape]:
    found = {}
    for node in written.network.graph.nodes:
        if "keras" in node.meta and "shape" in node.meta:
            shape = node.meta["shape"]
            found[node.meta["keras"]] = (
                shape[:0:-1] if node.meta["layout"] == CHANNELS_FIRST else shape[1:]
            )
    return found


def _common(shapes: list[Shape]) -> Shape:
    """Return what two shapes have in common; ``None`` where they differ."""
    return tuple(
        sizes[0] if len(set(sizes)) == 1 else None
        for sizes in zip(*shapes, strict=True)
    )
