"""`Segment`: the piece of a port's graph that makes one Keras layer's output of outputs
that are known to be right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ecgnb.port.ported import PortedModel
from ecgnb.port.proof.record import Record, in_keras_layout, labelled
from ecgnb.port.proof.reference import Reference, Stored

#: Classes of Keras layers that give at inference what they were given; golden files
#: leave them out.
IDLE = (
    "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization"
)  # fmt: skip

#: What is computed in place of a node: it takes the node's arguments.
Swaps = Mapping[fx.Node, Callable[..., Any]]


@dataclass(frozen=True)
class Segment:
    """What lies between one layer's output and the nearest outputs before it that the
    reference knows.

    Attributes:
        target: the node that makes the layer's output.
        nodes: of the piece, in call order, the target last.
        module: holds the modules, in float64 and for inference.
        values: of every node of the whole graph, in float64.
        stored: what the reference says.
        rtol: largest difference, relative to the scale, that counts as equal.
    """

    target: fx.Node
    nodes: list[fx.Node]
    module: nn.Module
    values: dict[fx.Node, Any]
    stored: Stored
    rtol: float

    @property
    def sources(self) -> list[fx.Node]:
        """Nodes whose outputs enter the piece."""
        own = set(self.nodes)
        return list(
            dict.fromkeys(
                each
                for node in self.nodes
                for each in node.all_input_nodes
                if each not in own
            )
        )

    def module_of(self, node: fx.Node) -> nn.Module | None:
        """Return the module that a node calls, if it calls one."""
        return (
            self.module.get_submodule(str(node.target))
            if node.op == "call_module"
            else None
        )

    def call(self, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
        """Compute a node from arguments."""
        if node.op == "call_module":
            return self.module.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)

    def arguments(
        self, node: fx.Node, values: Mapping[fx.Node, Any] | None = None
    ) -> tuple[tuple[Any, ...], Any]:
        """Return a node's arguments with tensors in the place of nodes."""
        values = self.values if values is None else values
        return fx.map_arg((node.args, node.kwargs), lambda each: values[each])

    @torch.no_grad()
    def run(self, swaps: Swaps | None = None) -> Tensor:
        """Compute the layer's output once more, some nodes replaced."""
        return self.compute(swaps)

    def compute(self, swaps: Swaps | None = None) -> Tensor:
        """As `run`, for a gradient."""
        swaps, values = swaps or {}, dict(self.values)
        for node in self.nodes:
            args, kwargs = self.arguments(node, values)
            values[node] = (
                swaps[node](*args, **kwargs)
                if node in swaps
                else self.call(node, *args, **kwargs)
            )
        return values[self.target]

    def misfit(self, output: Tensor) -> float:
        """Return the largest difference from the reference, relative to its scale;
        infinite if shapes differ.
        """
        found = difference(
            in_keras_layout(self.target, output).cpu().numpy(), self.stored
        )
        return found / self.stored.scale if self.stored.scale else found


def segment_of(
    target: fx.Node,
    known: Mapping[fx.Node, Stored],
    stored: Stored,
    referee: Record,
    rtol: float,
) -> Segment:
    """Cut out the piece of the graph that ends in ``target`` and begins where outputs
    are known.
    """
    found: set[fx.Node] = set()
    open_nodes = [target]
    while open_nodes:
        node = open_nodes.pop()
        if node not in found:
            found.add(node)
            open_nodes += [
                each
                for each in node.all_input_nodes
                if each.op.startswith("call") and each not in known
            ]
    nodes = [node for node in target.graph.nodes if node in found]
    return Segment(target, nodes, referee.module, referee.values, stored, rtol)


def known_layers(port: PortedModel, reference: Reference) -> dict[fx.Node, Stored]:
    """Return what each layer of the port must give, as far as the reference tells.

    Layers that do nothing at inference are not in golden files; they must give what
    they were given.
    """
    known: dict[fx.Node, Stored] = {}
    inputs = [Stored.whole(values) for values in reference.inputs.values()]
    given = dict(
        zip(
            (node for node in port.graph.nodes if node.op == "placeholder"),
            inputs,
            strict=False,
        )
    )
    for label, node in labelled(port).items():
        if label in reference.layers:
            known[node] = reference.layers[label]
        elif node.meta["class_name"] in IDLE and len(node.all_input_nodes) == 1:
            before = _unturned(node.all_input_nodes[0])
            if before in known or before in given:
                known[node] = known.get(before) or given[before]
    return known


def _unturned(node: fx.Node) -> fx.Node:
    while node.op == "call_method" and node.target == "transpose":
        node = node.all_input_nodes[0]
    return node


def difference(values: np.ndarray, stored: Stored) -> float:
    """Return max|values - stored|, infinite for other shapes or anything that is not finite.

    Where only some time steps were kept, the mean and the largest absolute value are
    compared over all.
    """
    if tuple(values.shape) != stored.shape:
        return float("inf")
    numbers = values.astype(np.float64)
    kept = numbers if stored.steps is None else numbers[:, stored.steps]
    found = [np.abs(kept - stored.values).max(initial=0.0)]
    if stored.steps is not None:
        found += [
            abs(numbers.mean() - stored.mean),
            abs(np.abs(numbers).max(initial=0.0) - stored.scale),
        ]
    finite = bool(np.isfinite(numbers).all() and np.isfinite(stored.values).all())
    return float(max(found)) if finite else float("inf")
