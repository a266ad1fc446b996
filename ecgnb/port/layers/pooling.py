"""Pooling over time."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from ecgnb.port.layers.base import CHANNELS_LAST, LayerRule, Options, keras_layer
from ecgnb.port.modules.basic import (
    GlobalAveragePool1d,
    GlobalMaxPool1d,
    SameAvgPool1d,
    SamePad1d,
)
from ecgnb.port.network import CHANNELS_FIRST, KERAS, Network, Value


class Pooling(LayerRule):
    """Base of the poolings over windows."""

    options = {"pool_size", "strides"}
    only = {**CHANNELS_LAST, "padding": ("valid", "same")}

    def window(self) -> tuple[int, int, bool]:
        """Return size, stride, and whether Keras' ``padding="same"`` is needed."""
        size = self.number("pool_size", 2)
        stride = size if self.get("strides") is None else self.number("strides")
        return size, stride, self.get("padding") == "same"


@keras_layer
class MaxPooling1D(Pooling):
    """The maximum of windows; padding is minus infinity."""

    def apply(self, net: Network, x: Value) -> Value:
        size, stride, same = self.window()
        x = net.channels_first(x)
        if same:
            options: Options = {"stride": stride, "value": float("-inf")}
            x = net.apply(SamePad1d, x, size, suffix="_padding", **options)
        return net.apply(nn.MaxPool1d, x, size, stride=stride)


@keras_layer
class AveragePooling1D(Pooling):
    """The mean of windows; padding does not count.

    `nn.AvgPool1d` pads both ends alike, so it is used where that is right at any
    length.
    """

    def apply(self, net: Network, x: Value) -> Value:
        size, stride, same = self.window()
        x = net.channels_first(x)
        if same and (stride > 1 or size % 2 == 0):
            return net.apply(SameAvgPool1d, x, size, stride)
        options: Options = {"stride": stride}
        if same:
            options |= {"padding": size // 2, "count_include_pad": False}
        return net.apply(nn.AvgPool1d, x, size, **options)


class GlobalPooling(LayerRule):
    """One number per channel."""

    options = {"keepdims"}
    only = CHANNELS_LAST
    module: ClassVar[type[nn.Module]]

    def apply(self, net: Network, x: Value) -> Value:
        layout = CHANNELS_FIRST
        if self.get("keepdims", False):
            return net.apply(self.module, x, layout=layout, keepdim=True)
        return net.apply(self.module, x, layout=layout, output_layout=KERAS)


@keras_layer
class GlobalAveragePooling1D(GlobalPooling):
    """The mean over time."""

    module = GlobalAveragePool1d


@keras_layer
class GlobalMaxPooling1D(GlobalPooling):
    """The maximum over time."""

    module = GlobalMaxPool1d
