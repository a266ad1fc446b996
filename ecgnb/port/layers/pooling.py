"""Pooling over time."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from ecgnb.port.layers.base import LAYERS, LayerRule, Only
from ecgnb.port.modules.basic import (
    GlobalAveragePool1d,
    GlobalMaxPool1d,
    SameAvgPool1d,
    SamePad1d,
)
from ecgnb.port.network import KERAS, Network, Value


class Pooling(LayerRule):
    """What is made of windows."""

    options = frozenset({"pool_size", "strides"})
    only: ClassVar[Only] = {
        "padding": ("valid", "same"),
        "data_format": ("channels_last", None),
    }

    def window(self) -> tuple[int, int]:
        """Return the window's length and its stride, which is the length when left
        out.
        """
        size = self.number("pool_size", 2)
        return size, size if self.get("strides") is None else self.number("strides")


@LAYERS.register("MaxPooling1D")
class MaxPooling1D(Pooling):
    """The maximum of windows."""

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write padding (of minus infinity) and pooling."""
        x = net.channels_first(inputs[0])
        size, stride = self.window()
        if self.get("padding") == "same":
            x = net.apply(
                f"{name}_padding",
                SamePad1d,
                x,
                size,
                stride=stride,
                value=float("-inf"),
            )
        return net.apply(name, nn.MaxPool1d, x, size, stride=stride)


@LAYERS.register("AveragePooling1D")
class AveragePooling1D(Pooling):
    """The mean of windows; padding does not count."""

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it; `nn.AvgPool1d` pads both ends alike, so it does where that is right
        at any length.
        """
        x = net.channels_first(inputs[0])
        size, stride = self.window()
        if self.get("padding", "valid") == "valid":
            return net.apply(name, nn.AvgPool1d, x, size, stride=stride)
        if stride == 1 and size % 2:
            return net.apply(
                name,
                nn.AvgPool1d,
                x,
                size,
                stride=1,
                padding=size // 2,
                count_include_pad=False,
            )
        return net.apply(name, SameAvgPool1d, x, size, stride)


class GlobalPooling(LayerRule):
    """One number a channel."""

    options = frozenset({"keepdims"})
    only: ClassVar[Only] = {"data_format": ("channels_last", None)}
    kind: ClassVar[type[nn.Module]]

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it."""
        x = net.channels_first(inputs[0])
        if self.get("keepdims", False):
            return net.apply(name, self.kind, x, keepdim=True)
        return net.apply(name, self.kind, x, layout=KERAS)


@LAYERS.register("GlobalAveragePooling1D")
class GlobalAveragePooling1D(GlobalPooling):
    """The mean over time."""

    kind = GlobalAveragePool1d


@LAYERS.register("GlobalMaxPooling1D")
class GlobalMaxPooling1D(GlobalPooling):
    """The maximum over time."""

    kind = GlobalMaxPool1d
