"""Convolutions over time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

from ecgnb.port.layers.activation import activate, activation_problem
from ecgnb.port.layers.base import LAYERS, LayerRule, Only, State
from ecgnb.port.modules import SamePad1d
from ecgnb.port.network import Network, Value
from ecgnb.port.weights import Variable


@LAYERS.register("Conv1D")
class Conv1D(LayerRule):
    """Keras keeps the kernel as [K, in / groups, out]; PyTorch as [out, in / groups, K]."""

    options = frozenset(
        ["filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "activation", "use_bias"],
    )
    only: ClassVar[Only] = {
        "data_format": ("channels_last", None),
        "rank": (1,),
        "lora_rank": (None,),
        "lora_alpha": (None,),
    }

    def variables(self) -> list[Variable]:
        """Return kernel and bias."""
        return [Variable("kernel"), Variable("bias")] if self.get("use_bias", True) else [Variable("kernel")]

    def problems(self) -> Iterator[str]:
        """Yield unknown options, and a padding or activation that is not known."""
        yield from super().problems()
        yield from activation_problem(self.get("activation"))
        if self.get("padding", "valid") not in ("valid", "same", "causal"):
            yield f"padding={self['padding']!r} (only 'valid', 'same', 'causal')"

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write padding, convolution and activation."""
        x = net.channels_first(inputs[0])
        kernel, stride, dilation = self.number("kernel_size"), self.number("strides"), self.number("dilation_rate")
        options: dict[str, Any] = {"stride": stride} if stride > 1 else {}
        padding = self.get("padding", "valid")
        if padding == "causal":
            x = net.apply(f"{name}_padding", nn.ConstantPad1d, x, ((kernel - 1) * dilation, 0), 0.0)
        elif padding == "same" and (stride > 1 or (kernel - 1) * dilation % 2):  # PyTorch has no stride, and copies
            x = net.apply(f"{name}_padding", SamePad1d, x, kernel, stride=stride, dilation=dilation)
        elif padding == "same":
            options["padding"] = "same"
        if dilation > 1:
            options["dilation"] = dilation
        if self.get("groups", 1) > 1:
            options["groups"] = self["groups"]
        if not self.get("use_bias", True):
            options["bias"] = False
        x = net.apply(name, nn.Conv1d, x, x.shape[-1], self["filters"], kernel, **options)
        return activate(net, f"{name}_activation", x, self.get("activation"))

    def state(self) -> State:
        """Turn the kernel."""
        state = {"weight": self.tensor("kernel").permute(2, 1, 0)}
        return {**state, "bias": self.tensor("bias")} if "bias" in self.layer.arrays else state
