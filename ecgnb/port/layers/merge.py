"""Layers with several inputs."""

from __future__ import annotations

from typing import Any

from torch import nn

from ecgnb.port.layers.base import LAYERS, LayerRule
from ecgnb.port.modules import Add as AddModule
from ecgnb.port.network import CHANNELS_FIRST, Network, Value


def alike(net: Network, values: list[Value]) -> list[Value]:
    """Bring values into one layout; a lower rank gets Keras' axes of length 1 after the batch."""
    rank = max(value.rank for value in values)
    if all(value.rank == 3 for value in values) and any(value.layout == CHANNELS_FIRST for value in values):
        return [net.channels_first(value) for value in values]
    values = [net.keras(value) for value in values]
    for place, value in enumerate(values):
        for _ in range(rank - value.rank):
            values[place] = net.method("unsqueeze", values[place], 1)
    return values


class Merge(LayerRule):
    """One value for each place, of all inputs."""

    kind: type[nn.Module]

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it; inputs are broadcast as in Keras."""
        return net.apply(name, self.kind, tuple(alike(net, inputs[0])))


@LAYERS.register("Add")
class Add(Merge):
    """The sum."""

    kind = AddModule
