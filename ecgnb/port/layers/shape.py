"""Layers that move values and compute nothing."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from ecgnb.port.layers.base import LAYERS, LayerRule, Only
from ecgnb.port.modules.basic import Crop1d
from ecgnb.port.modules.basic import Permute as PermuteModule
from ecgnb.port.modules.basic import RepeatVector as RepeatVectorModule
from ecgnb.port.modules.basic import Reshape as ReshapeModule
from ecgnb.port.network import Network, Value


@LAYERS.register("Flatten")
class Flatten(LayerRule):
    """All in one row, time-major as in Keras."""

    only: ClassVar[Only] = {"data_format": ("channels_last", None)}

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it on Keras' layout."""
        return net.apply(name, nn.Flatten, net.keras(inputs[0]))


@LAYERS.register("Reshape")
class Reshape(LayerRule):
    """Another shape."""

    options = frozenset({"target_shape"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it on Keras' layout."""
        shape = [-1 if size is None else size for size in self["target_shape"]]
        return net.apply(name, ReshapeModule, net.keras(inputs[0]), *shape)


@LAYERS.register("Permute")
class Permute(LayerRule):
    """Axes in another order."""

    options = frozenset({"dims"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it on Keras' layout."""
        return net.apply(name, PermuteModule, net.keras(inputs[0]), *self["dims"])


@LAYERS.register("RepeatVector")
class RepeatVector(LayerRule):
    """The same vector at each time."""

    options = frozenset({"n"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it."""
        return net.apply(name, RepeatVectorModule, net.keras(inputs[0]), self["n"])


class Edges(LayerRule):
    """A layer with two numbers, of the beginning and of the end."""

    only: ClassVar[Only] = {"data_format": ("channels_last", None)}

    def sides(self, option: str) -> tuple[int, int]:
        """Return both, which Keras writes as ``2`` or ``[2, 2]``."""
        value = self.get(option, 1)
        left, right = (value, value) if isinstance(value, int) else value
        return left, right


@LAYERS.register("ZeroPadding1D")
class ZeroPadding1D(Edges):
    """Zeros at both ends."""

    options = frozenset({"padding"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it."""
        return net.apply(
            name,
            nn.ConstantPad1d,
            net.channels_first(inputs[0]),
            self.sides("padding"),
            0.0,
        )


@LAYERS.register("Cropping1D")
class Cropping1D(Edges):
    """Samples less at both ends."""

    options = frozenset({"cropping"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it."""
        return net.apply(
            name, Crop1d, net.channels_first(inputs[0]), *self.sides("cropping")
        )


@LAYERS.register("UpSampling1D")
class UpSampling1D(LayerRule):
    """Each sample several times."""

    options = frozenset({"size"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it; PyTorch's ``"nearest"`` rounds to the wrong sample at some sizes,
        such as 41.
        """
        size = self.number("size", 2)
        return net.apply(
            name,
            nn.Upsample,
            net.channels_first(inputs[0]),
            scale_factor=size,
            mode="nearest-exact",
        )
