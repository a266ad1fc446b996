"""Layers with several inputs."""

from __future__ import annotations

from typing import Any

from ecgnb.port.layers.base import (
    LAYERS,
    Args,
    LayerRule,
    Options,
    as_list,
    check_that,
    keras_layer,
)
from ecgnb.port.modules import keras_merge as merge_modules
from ecgnb.port.network import CHANNELS_FIRST, KERAS, Network, Value


def input_list(inputs: Args) -> list[Value]:
    """Return what a merge layer is called with: a list, a tuple, or one value alone."""
    if isinstance(inputs[0], Value):
        return list(inputs)
    return list(inputs[0])


def common_layout(values: list[Value]) -> str:
    """Return the layout of values together: channels first if one has it and all are
    signals.
    """
    layouts = {value.layout for value in values}
    if CHANNELS_FIRST in layouts and all(value.rank == 3 for value in values):
        return CHANNELS_FIRST
    return KERAS


def in_common_layout(net: Network, values: list[Value]) -> list[Value]:
    """Bring values into one layout; a lower rank gets Keras' axes of length 1 after the
    batch.
    """
    layout = common_layout(values)
    rank = max(value.rank for value in values)
    expanded = []
    for value in values:
        value = net.in_layout(value, layout)
        while value.rank < rank:
            value = net.method("unsqueeze", value, 1)
        expanded.append(value)
    return expanded


class Merge(LayerRule):
    """A module of several inputs, broadcast as in Keras, under the layer's name."""

    def build(self, net: Network, *inputs: Any, **kwargs: Any) -> Value:
        values = in_common_layout(net, input_list(inputs))
        module = getattr(merge_modules, self.layer.class_name)
        return net.apply(module, tuple(values), *self.args(values))

    def args(self, values: list[Value]) -> Args:
        """Return the arguments of the module's constructor."""
        return ()


for _name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
    LAYERS.register(_name)(Merge)


@keras_layer
class Concatenate(Merge):
    """One input after the other along an axis."""

    options = {"axis"}

    def args(self, values: list[Value]) -> Args:
        axis = self.number("axis", -1)
        if values[0].layout == CHANNELS_FIRST:
            axis = (0, 2, 1)[axis]  # [B, T, C] -> [B, C, T]
        return (axis,)


@keras_layer
class Dot(LayerRule):
    """Products of two inputs, summed along an axis of each."""

    options = {"axes", "normalize"}
    checks = {
        "axes": check_that(
            lambda axes: 0 not in as_list(axes), "(the batch, axis 0, stays)"
        ),
    }

    def build(self, net: Network, *inputs: Any, **kwargs: Any) -> Value:
        first, second = map(net.keras, input_list(inputs))
        axes = self["axes"]
        if isinstance(axes, int):
            axes = axes, axes
        dims = axes[0] % first.rank, axes[1] % second.rank
        options: Options = {}
        if self.get("normalize", False):  # shorter vectors are divided by eps
            options["eps"] = 1e-7 if self.layer.keras >= 3 else 1e-6
        return net.apply(merge_modules.Dot, (first, second), *dims, **options)
