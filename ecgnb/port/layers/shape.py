"""Layers that move values and compute nothing."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from ecgnb.port.layers.base import LAYERS, LayerRule, Only
from ecgnb.port.network import Network, Value


@LAYERS.register("Flatten")
class Flatten(LayerRule):
    """All in one row, time-major as in Keras."""

    only: ClassVar[Only] = {"data_format": ("channels_last", None)}

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it on Keras' layout."""
        return net.apply(name, nn.Flatten, net.keras(inputs[0]))
