"""Segments of a port's graph, each from known layer outputs to one layer's output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from ecgnb.port.proof.port_run import keras_array
from ecgnb.port.proof.reference import Stored


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
        function: Any = self.module_of(node)
        if function is None:
            function = node.target
        if node.op == "call_method":  # the first argument is the tensor
            function = getattr(args[0], function)
            args = args[1:]
        return function(*args, **kwargs)

    def compute(
        self,
        replaced: fx.Node | None = None,
        replacement: Callable[..., Any] | None = None,
    ) -> Tensor:
        """Compute the layer's output again.

        Args:
            replaced: a node that is not computed.
            replacement: called in its place, with the node's arguments.
        """
        values = dict(self.values)
        for node in self.nodes:
            args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            if replacement is not None and node is replaced:
                values[node] = replacement(*args, **kwargs)
            else:
                values[node] = self.call(node, *args, **kwargs)
        return values[self.target]

    def misfit(self, output: Tensor) -> float:
        """Return the largest difference from the reference, relative to its scale;
        infinite if shapes differ.
        """
        gap = difference(keras_array(self.target, output), self.stored)
        return gap / (self.stored.scale or 1.0)


def difference(values: np.ndarray, stored: Stored) -> float:
    """Return max|values - stored|; infinite if shapes differ or a value is not finite.

    Where only some time steps were kept, the mean and the largest absolute value over
    all steps are compared, too.
    """
    if tuple(values.shape) != stored.shape:
        return float("inf")
    for array in (values, stored.values):
        if not np.isfinite(array).all():
            return float("inf")
    values = values.astype(np.float64)
    largest = stored.gaps(values).max(initial=0.0)
    if stored.steps is not None:
        scale = np.abs(values).max(initial=0.0)
        mean_gap = abs(values.mean() - stored.mean)
        scale_gap = abs(scale - stored.scale)
        largest = max(largest, mean_gap, scale_gap)
    return float(largest)
