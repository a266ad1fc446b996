"""Convolutions over time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import Tensor, nn

from ecgnb.port.layers.activation import activate, activation_problem
from ecgnb.port.layers.base import LAYERS, LayerRule, Only, State
from ecgnb.port.modules.basic import Crop1d, SamePad1d, SeparableConv1d
from ecgnb.port.network import Network, Value
from ecgnb.port.reading.keras_weights import Variable


class Convolution(LayerRule):
    """What all convolutions have in common."""

    options = frozenset(
        {"kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias"}
    )
    only: ClassVar[Only] = {
        "data_format": ("channels_last", None),
        "rank": (1,),
        "lora_rank": (None,),
        "lora_alpha": (None,),
    }
    kernels: ClassVar[tuple[str, ...]] = ("kernel",)
    paddings: ClassVar[tuple[str, ...]] = ("valid", "same", "causal")

    @property
    def biased(self) -> bool:
        """Whether a bias is added."""
        return bool(self.get("use_bias", True))

    @property
    def padding(self) -> str:
        """The padding's name."""
        return str(self.get("padding", "valid")).lower()

    def variables(self) -> list[Variable]:
        """Return kernels and bias."""
        return [
            Variable(name)
            for name in (*self.kernels, *(["bias"] if self.biased else []))
        ]

    def problems(self) -> Iterator[str]:
        """Yield unknown options, and a padding or activation that is not known."""
        yield from super().problems()
        yield from activation_problem(self.get("activation"), self.layer.keras)
        if self.padding not in self.paddings:
            yield f"padding={self['padding']!r} (only {', '.join(map(repr, self.paddings))})"

    def padded(self, net: Network, name: str, x: Value) -> Value:
        """Write the padding as a module before the convolution; it depends on the
        signal's length.
        """
        kernel, dilation = self.number("kernel_size"), self.number("dilation_rate")
        if self.padding == "causal":
            return net.apply(
                f"{name}_padding",
                nn.ConstantPad1d,
                x,
                ((kernel - 1) * dilation, 0),
                0.0,
            )
        if self.padding == "same" and not self.padded_within:
            options: dict[str, Any] = {
                "stride": self.number("strides"),
                "dilation": dilation,
            }
            return net.apply(f"{name}_padding", SamePad1d, x, kernel, **options)
        return x

    @property
    def padded_within(self) -> bool:
        """Whether PyTorch's own ``padding="same"`` says the same: it has no stride, and
        copies for an odd sample.
        """
        span = (self.number("kernel_size") - 1) * self.number("dilation_rate")
        return self.padding == "same" and self.number("strides") == 1 and span % 2 == 0

    def module_options(self) -> dict[str, Any]:
        """Return what differs from the defaults of `nn.Conv1d`."""
        options: dict[str, Any] = {"padding": "same"} if self.padded_within else {}
        options |= {
            option: self.number(of_keras)
            for option, of_keras in (
                ("stride", "strides"),
                ("dilation", "dilation_rate"),
            )
            if self.number(of_keras) > 1
        }
        return options if self.biased else {**options, "bias": False}

    def depthwise_weight(self) -> Tensor:
        """Turn a kernel for each channel, [K, in, multiplier]; channels of one input
        stand side by side.
        """
        kernel = self.tensor(
            "depthwise_kernel",
            self.number("kernel_size"),
            None,
            self.number("depth_multiplier"),
        )
        return kernel.flatten(1).T.unsqueeze(1)

    def with_bias(self, state: State, path: str = "bias") -> State:
        """Add the bias, if there is one."""
        return {**state, path: self.tensor("bias")} if self.biased else state


@LAYERS.register("Conv1D")
class Conv1D(Convolution):
    """Keras keeps the kernel as [K, in / groups, out]; PyTorch as [out, in / groups,
    K].
    """

    options = Convolution.options | {"filters", "groups"}

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write padding, convolution and activation."""
        x = self.padded(net, name, net.channels_first(inputs[0]))
        options = self.module_options()
        if self.number("groups") > 1:
            options["groups"] = self.number("groups")
        x = net.apply(
            name,
            nn.Conv1d,
            x,
            x.shape[-1],
            self["filters"],
            self.number("kernel_size"),
            **options,
        )
        return activate(
            net, f"{name}_activation", x, self.get("activation"), self.layer.keras
        )

    def state(self) -> State:
        """Turn the kernel."""
        return self.with_bias({"weight": self.tensor("kernel").permute(2, 1, 0)})


@LAYERS.register("DepthwiseConv1D")
class DepthwiseConv1D(Convolution):
    """A kernel for each channel: [K, in, multiplier] in Keras, [in * multiplier, 1, K]
    in PyTorch.
    """

    options = Convolution.options | {"depth_multiplier"}
    only: ClassVar[Only] = {**Convolution.only, "filters": (None,), "groups": (None, 1)}
    kernels = ("depthwise_kernel",)
    paddings = ("valid", "same")

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write padding, convolution and activation."""
        x = self.padded(net, name, net.channels_first(inputs[0]))
        channels = x.shape[-1]
        options = {**self.module_options(), "groups": channels}
        filters = channels * self.number("depth_multiplier")
        x = net.apply(
            name, nn.Conv1d, x, channels, filters, self.number("kernel_size"), **options
        )
        return activate(
            net, f"{name}_activation", x, self.get("activation"), self.layer.keras
        )

    def state(self) -> State:
        """Turn the kernel."""
        return self.with_bias({"weight": self.depthwise_weight()})


@LAYERS.register("SeparableConv1D")
class SeparableConv1D(Convolution):
    """A kernel for each channel, then one of width 1 over all of them."""

    options = Convolution.options | {"filters", "depth_multiplier"}
    only: ClassVar[Only] = {**Convolution.only, "groups": (None, 1)}
    kernels = ("depthwise_kernel", "pointwise_kernel")

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write padding, both convolutions as one module, and activation."""
        x = net.channels_first(inputs[0])
        channels = x.shape[-1]
        arguments = (
            channels,
            self["filters"],
            self.number("kernel_size"),
            self.number("depth_multiplier"),
        )
        x = net.apply(
            name,
            SeparableConv1d,
            self.padded(net, name, x),
            *arguments,
            **self.module_options(),
        )
        return activate(
            net, f"{name}_activation", x, self.get("activation"), self.layer.keras
        )

    @property
    def padded_within(self) -> bool:
        """Never: the padding is a module of its own."""
        return False

    def state(self) -> State:
        """Turn both kernels."""
        state = {
            "depthwise.weight": self.depthwise_weight(),
            "pointwise.weight": self.tensor("pointwise_kernel").permute(2, 1, 0),
        }
        return self.with_bias(state, "pointwise.bias")


@LAYERS.register("Conv1DTranspose")
class Conv1DTranspose(Convolution):
    """The gradient of a convolution as a layer; Keras keeps the kernel as [K, out, in],
    PyTorch as [in, out, K].

    TensorFlow makes as many samples as a convolution with the same padding would need
    to give the input's length, and cuts off what that convolution pads: the odd sample
    at the end.
    """

    options = Convolution.options | {"filters", "output_padding"}
    only: ClassVar[Only] = {**Convolution.only, "groups": (None, 1)}
    paddings = ("valid", "same")

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write convolution, cropping and activation."""
        x = net.channels_first(inputs[0])
        left, right = self._cut()
        options = self.module_options()
        if right < 0:
            options["output_padding"] = -right
        elif left == right > 0:  # PyTorch cuts both ends alike
            options["padding"] = left
        x = net.apply(
            name,
            nn.ConvTranspose1d,
            x,
            x.shape[-1],
            self["filters"],
            self.number("kernel_size"),
            **options,
        )
        if right > left:
            x = net.apply(f"{name}_cropping", Crop1d, x, left, right)
        return activate(
            net, f"{name}_activation", x, self.get("activation"), self.layer.keras
        )

    @property
    def padded_within(self) -> bool:
        """Never: here padding cuts."""
        return False

    def _cut(self) -> tuple[int, int]:
        """Return how many of the (T - 1) * stride + span samples go at either end;
        below 0: how many come.
        """
        stride = self.number("strides")
        span = (self.number("kernel_size") - 1) * self.number("dilation_rate") + 1
        if self.get("output_padding") is None:
            wanted = max(span, stride) if self.padding == "valid" else stride
        else:
            wanted = (span if self.padding == "valid" else span % 2) + self.number(
                "output_padding"
            )
        total = (
            span - wanted
        )  # where the last input sample would make `span` samples, Keras wants `wanted`
        left = max(total, 0) // 2 if self.padding == "same" else 0
        return left, total - left

    def state(self) -> State:
        """Turn the kernel."""
        return self.with_bias({"weight": self.tensor("kernel").permute(2, 1, 0)})
