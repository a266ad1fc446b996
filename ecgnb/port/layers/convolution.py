"""Convolutions over time."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from ecgnb.port.layers.activation import ActivatedRule
from ecgnb.port.layers.base import CHANNELS_LAST, NO_LORA, Options, State, keras_layer
from ecgnb.port.modules.basic import Crop1d, SamePad1d, SeparableConv1d
from ecgnb.port.network import Network, Value


class Convolution(ActivatedRule):
    """Base of the convolutions.

    Attributes:
        module: PyTorch's class.
    """

    options = {"kernel_size", "strides", "dilation_rate", "activation", "use_bias"}
    only = {
        **CHANNELS_LAST,
        **NO_LORA,
        "rank": (1,),
        "padding": ("valid", "same", "causal"),
    }
    weights: ClassVar[tuple[str, ...]] = ("kernel", "bias")
    module: ClassVar[type[nn.Module]] = nn.Conv1d
    renames = {"bias": "bias"}

    @property
    def padding(self) -> str:
        """The padding's name."""
        return str(self.get("padding", "valid"))

    @property
    def span(self) -> int:
        """Samples that one output sees, less one."""
        return (self.number("kernel_size") - 1) * self.number("dilation_rate")

    @property
    def padded_within(self) -> bool:
        """Whether PyTorch's own ``padding="same"`` is the same: without a stride, and
        where both ends get as many samples.
        """
        stride = self.number("strides")
        return self.padding == "same" and stride == 1 and self.span % 2 == 0

    def padded(self, net: Network, x: Value) -> Value:
        """Write the padding as a module before the convolution; it depends on the
        signal's length.
        """
        suffix = "_padding"
        if self.padding == "causal":
            ends = self.span, 0  # all before the first sample
            return net.apply(nn.ConstantPad1d, x, ends, 0.0, suffix=suffix)
        if self.padding != "same" or self.padded_within:
            return x
        size = self.number("kernel_size")
        options: Options = {
            "stride": self.number("strides"),
            "dilation": self.number("dilation_rate"),
        }
        return net.apply(SamePad1d, x, size, suffix=suffix, **options)

    def apply_linear(self, net: Network, x: Value) -> Value:
        x = self.padded(net, net.channels_first(x))
        channels = x.shape[-1]
        sizes = self.sizes(channels)
        return net.apply(self.module, x, *sizes, **self.module_options(channels))

    def sizes(self, channels: int) -> tuple[int, ...]:
        """Return channels in, channels out and the kernel's length."""
        return channels, self["filters"], self.number("kernel_size")

    def module_options(self, channels: int) -> Options:
        """Return what differs from the defaults of `nn.Conv1d`."""
        options: Options = {}
        if self.padded_within:
            options["padding"] = "same"
        if self.number("strides") > 1:
            options["stride"] = self.number("strides")
        if self.number("dilation_rate") > 1:
            options["dilation"] = self.number("dilation_rate")
        return options | self.bias_option

    def state(self) -> State:
        return self.kernels() | super().state()

    def kernels(self) -> State:
        """Return the kernels as PyTorch stores them: [K, in, out] -> [out, in, K]."""
        return {"weight": self.tensor("kernel").permute(2, 1, 0)}

    def depthwise_kernel(self) -> Tensor:
        """Return one kernel per channel: [K, in, multiplier] -> [in * multiplier, 1,
        K], the channels of one input side by side.
        """
        multiplier = self.number("depth_multiplier")
        size = self.number("kernel_size")
        kernel = self.tensor("depthwise_kernel", size, None, multiplier)
        rows = kernel.flatten(1).T  # [in * multiplier, K]
        return rows.unsqueeze(1)


@keras_layer
class Conv1D(Convolution):
    """Keras stores the kernel as [K, in / groups, out], PyTorch as [out, in / groups,
    K].
    """

    options = Convolution.options | {"filters", "groups"}

    def module_options(self, channels: int) -> Options:
        options = super().module_options(channels)
        if self.number("groups") > 1:
            options["groups"] = self.number("groups")
        return options


@keras_layer
class DepthwiseConv1D(Convolution):
    """One kernel per channel."""

    options = Convolution.options | {"depth_multiplier"}
    only = {
        **Convolution.only,
        "padding": ("valid", "same"),
        "filters": (None,),
        "groups": (None, 1),
    }
    weights = ("depthwise_kernel", "bias")

    def sizes(self, channels: int) -> tuple[int, ...]:
        filters = channels * self.number("depth_multiplier")
        return channels, filters, self.number("kernel_size")  # [C, C * multiplier, K]

    def module_options(self, channels: int) -> Options:
        return super().module_options(channels) | {"groups": channels}

    def kernels(self) -> State:
        return {"weight": self.depthwise_kernel()}


@keras_layer
class SeparableConv1D(Convolution):
    """One kernel per channel, then one of width 1 over all of them."""

    options = Convolution.options | {"filters", "depth_multiplier"}
    only = {**Convolution.only, "groups": (None, 1)}
    weights = ("depthwise_kernel", "pointwise_kernel", "bias")
    module = SeparableConv1d
    renames = {"pointwise.bias": "bias"}
    padded_within = False

    def sizes(self, channels: int) -> tuple[int, ...]:
        return (*super().sizes(channels), self.number("depth_multiplier"))

    def kernels(self) -> State:
        return {
            "depthwise.weight": self.depthwise_kernel(),
            "pointwise.weight": self.tensor("pointwise_kernel").permute(2, 1, 0),
        }


@keras_layer
class Conv1DTranspose(Convolution):
    """The gradient of a convolution as a layer; Keras stores the kernel as [K, out,
    in], PyTorch as [in, out, K].

    TensorFlow makes as many samples as a convolution with the same padding would need
    to give the input's length, and drops what that convolution pads: the odd sample at
    the end.
    """

    options = Convolution.options | {"filters", "output_padding"}
    only = {**Convolution.only, "padding": ("valid", "same"), "groups": (None, 1)}
    padded_within = False  # here padding crops

    def apply_linear(self, net: Network, x: Value) -> Value:
        x = net.channels_first(x)
        channels = x.shape[-1]
        left, right = self._cropping()
        options = self.module_options(channels)
        if right < 0:
            options["output_padding"] = -right  # samples after the last
        elif left == right > 0:  # PyTorch crops both ends alike
            options["padding"] = left
        sizes = self.sizes(channels)
        x = net.apply(nn.ConvTranspose1d, x, *sizes, **options)
        if right > left:
            x = net.apply(Crop1d, x, left, right, suffix="_cropping")
        return x

    def _cropping(self) -> tuple[int, int]:
        """Return how many of the (T - 1) * stride + span samples are dropped at either
        end; below 0: how many are added.
        """
        stride = self.number("strides")
        span = self.span + 1
        # where the last input sample would make `span` samples, Keras makes `kept`
        if self.padding == "valid":
            kept = max(span, stride)
            without_padding = span
        else:
            kept = stride
            without_padding = span % 2
        if self.get("output_padding") is not None:
            kept = without_padding + self.number("output_padding")
        dropped = span - kept
        left = 0
        if self.padding == "same":
            left = max(dropped, 0) // 2
        return left, dropped - left
