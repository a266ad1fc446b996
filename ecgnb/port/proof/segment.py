"""Segments of a port's graph, each from known layer outputs to one layer's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from ecgnb.port.ported import PortedModel
from ecgnb.port.proof.port_run import PortRun, in_keras_layout, nodes_by_label
from ecgnb.port.proof.reference import Reference, Stored

#: Keras layers that return their input at inference; golden files leave them out.
IDENTITY_LAYERS = (
    "Dropout",
    "SpatialDropout1D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
)

#: Functions that replace nodes; each is called with the node's arguments.
Replacements = Mapping[fx.Node, Callable[..., Any]]


@dataclass(frozen=True)
class Segment:
    """The nodes between one layer's output and the nearest outputs before it that the
    reference holds.

    Attributes:
        target: node that makes the layer's output.
        nodes: of the segment, in call order, the target last.
        module: holds the modules, in float64 and evaluation mode.
        values: output of every node of the whole graph, in float64.
        stored: the layer's output in the reference.
        rtol: largest difference, relative to the scale, that counts as equal.
    """

    target: fx.Node
    nodes: list[fx.Node]
    module: nn.Module
    values: dict[fx.Node, Any]
    stored: Stored
    rtol: float

    def module_of(self, node: fx.Node) -> nn.Module | None:
        """Return the module that a node calls, if it calls one."""
        if node.op != "call_module":
            return None
        return self.module.get_submodule(str(node.target))

    def call(self, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
        """Compute a node from arguments."""
        if node.op == "call_module":
            return self.module.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)

    def compute(self, replacements: Replacements | None = None) -> Tensor:
        """Compute the layer's output again, with some nodes replaced."""
        replacements = replacements or {}
        values = dict(self.values)
        for node in self.nodes:
            args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            if node in replacements:
                values[node] = replacements[node](*args, **kwargs)
            else:
                values[node] = self.call(node, *args, **kwargs)
        return values[self.target]

    def array(self, output: Tensor) -> np.ndarray:
        """Return an output of the target in Keras' layout."""
        return in_keras_layout(self.target, output).cpu().numpy()

    def misfit(self, output: Tensor) -> float:
        """Return the largest difference from the reference, relative to its scale;
        infinite if shapes differ.
        """
        return difference(self.array(output), self.stored) / (self.stored.scale or 1.0)


def segment_before(
    target: fx.Node,
    known: Mapping[fx.Node, Stored],
    stored: Stored,
    float64_run: PortRun,
    rtol: float,
) -> Segment:
    """Return the segment that ends in ``target`` and begins at known outputs."""
    inside: set[fx.Node] = set()
    stack = [target]
    while stack:
        node = stack.pop()
        if node in inside:
            continue
        inside.add(node)
        for source in node.all_input_nodes:
            if source.op.startswith("call") and source not in known:
                stack.append(source)
    nodes = [node for node in target.graph.nodes if node in inside]
    return Segment(target, nodes, float64_run.module, float64_run.values, stored, rtol)


def known_outputs(port: PortedModel, reference: Reference) -> dict[fx.Node, Stored]:
    """Return the outputs of the port's layers that the reference holds.

    Layers that change nothing at inference are not in golden files; their output must
    be their input.
    """
    known: dict[fx.Node, Stored] = {}
    placeholders = [node for node in port.graph.nodes if node.op == "placeholder"]
    arrays = map(Stored.whole, reference.inputs.values())
    inputs = dict(zip(placeholders, arrays, strict=False))
    for label, node in nodes_by_label(port).items():
        if label in reference.layers:
            known[node] = reference.layers[label]
        elif node.meta["class_name"] in IDENTITY_LAYERS:
            sources = node.all_input_nodes
            source = _before_transposes(sources[0])
            if len(sources) == 1 and (source in known or source in inputs):
                known[node] = known.get(source) or inputs[source]
    return known


def _before_transposes(node: fx.Node) -> fx.Node:
    while node.op == "call_method" and node.target == "transpose":
        node = node.all_input_nodes[0]
    return node


def difference(values: np.ndarray, stored: Stored) -> float:
    """Return max|values - stored|; infinite if shapes differ or a value is not finite.

    Where only some time steps were kept, the mean and the largest absolute value over
    all steps are compared, too.
    """
    if tuple(values.shape) != stored.shape:
        return float("inf")
    if not (np.isfinite(values).all() and np.isfinite(stored.values).all()):
        return float("inf")
    values = values.astype(np.float64)
    largest = np.abs(stored.at_steps(values) - stored.values).max(initial=0.0)
    if stored.steps is not None:
        mean_gap = abs(values.mean() - stored.mean)
        scale_gap = abs(np.abs(values).max(initial=0.0) - stored.scale)
        largest = max(largest, mean_gap, scale_gap)
    return float(largest)
