"""Layers with several inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

from ecgnb.port.layers.base import LAYERS, LayerRule
from ecgnb.port.modules import keras_merge as merge_modules
from ecgnb.port.network import CHANNELS_FIRST, Network, Value


def listed(inputs: tuple[Any, ...]) -> list[Value]:
    """Return what a merge layer is called with: a list, a tuple, or one value alone."""
    return list(inputs[0]) if isinstance(inputs[0], list | tuple) else list(inputs)


def alike(net: Network, values: list[Value]) -> list[Value]:
    """Bring values into one layout; a lower rank gets Keras' axes of length 1 after the
    batch.
    """
    rank = max(value.rank for value in values)
    if all(value.rank == 3 for value in values) and any(
        value.layout == CHANNELS_FIRST for value in values
    ):
        return [net.channels_first(value) for value in values]
    values = [net.keras(value) for value in values]
    for place, value in enumerate(values):
        for _ in range(rank - value.rank):
            values[place] = net.method("unsqueeze", values[place], 1)
    return values


class Merge(LayerRule):
    """One value for each place, of all inputs."""

    kind: ClassVar[type[nn.Module]]

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it; inputs are broadcast as in Keras."""
        return net.apply(name, self.kind, tuple(alike(net, listed(inputs))))


@LAYERS.register("Add")
class Add(Merge):
    """The sum."""

    kind = merge_modules.Add


@LAYERS.register("Subtract")
class Subtract(Merge):
    """The difference."""

    kind = merge_modules.Subtract


@LAYERS.register("Multiply")
class Multiply(Merge):
    """The product."""

    kind = merge_modules.Multiply


@LAYERS.register("Average")
class Average(Merge):
    """The mean."""

    kind = merge_modules.Average


@LAYERS.register("Maximum")
class Maximum(Merge):
    """The largest."""

    kind = merge_modules.Maximum


@LAYERS.register("Minimum")
class Minimum(Merge):
    """The smallest."""

    kind = merge_modules.Minimum


@LAYERS.register("Concatenate")
class Concatenate(LayerRule):
    """One input after the other along an axis."""

    options = frozenset({"axis"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it; in channels-first layout the axis is another."""
        values = alike(net, listed(inputs))
        axis = self.number("axis", -1)
        if values[0].layout == CHANNELS_FIRST:
            axis = (0, 2, 1)[axis]
        return net.apply(name, merge_modules.Concatenate, tuple(values), axis)


@LAYERS.register("Dot")
class Dot(LayerRule):
    """Products of two inputs, summed along an axis of each."""

    options = frozenset({"axes", "normalize"})

    def _axes(self) -> tuple[int, int]:
        axes = self["axes"]
        first, second = (axes, axes) if isinstance(axes, int) else axes
        return first, second

    def problems(self) -> Iterator[str]:
        """Yield unknown options, and an axis that is the batch."""
        yield from super().problems()
        if 0 in self._axes():
            yield f"axes={self['axes']!r} (the batch, axis 0, stays)"

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it on Keras' layout; the shortest vector that is brought to length 1
        differs between Keras 2 and 3.
        """
        first, second = (net.keras(value) for value in listed(inputs))
        one, other = self._axes()
        options: dict[str, Any] = (
            {"eps": 1e-7 if self.layer.keras >= 3 else 1e-6}
            if self.get("normalize", False)
            else {}
        )
        return net.apply(
            name,
            merge_modules.Dot,
            (first, second),
            one % first.rank,
            other % second.rank,
            **options,
        )
