"""Layers that are one matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

from ecgnb.port.layers.activation import activate, activation_problem
from ecgnb.port.layers.base import LAYERS, LayerRule, Only, State
from ecgnb.port.network import Network, Value
from ecgnb.port.reading.keras_weights import Variable


@LAYERS.register("Dense")
class Dense(LayerRule):
    """A matrix on the last axis; Keras keeps it as [in, out], PyTorch as [out, in]."""

    options = frozenset({"units", "activation", "use_bias"})
    only: ClassVar[Only] = {"lora_rank": (None,), "lora_alpha": (None,)}

    def variables(self) -> list[Variable]:
        """Return kernel and bias."""
        return (
            [Variable("kernel"), Variable("bias")]
            if self.get("use_bias", True)
            else [Variable("kernel")]
        )

    def problems(self) -> Iterator[str]:
        """Yield unknown options and an unknown activation."""
        yield from super().problems()
        yield from activation_problem(self.get("activation"), self.layer.keras)

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write matrix and activation."""
        x = net.keras(inputs[0])
        options: dict[str, Any] = {} if self.get("use_bias", True) else {"bias": False}
        x = net.apply(name, nn.Linear, x, x.shape[-1], self["units"], **options)
        return activate(
            net, f"{name}_activation", x, self.get("activation"), self.layer.keras
        )

    def state(self) -> State:
        """Transpose the kernel."""
        state = {"weight": self.tensor("kernel").T}
        return (
            {**state, "bias": self.tensor("bias")}
            if "bias" in self.layer.arrays
            else state
        )


@LAYERS.register("Embedding")
class Embedding(LayerRule):
    """A row of a table for each whole number."""

    options = frozenset({"input_dim", "output_dim", "mask_zero", "sparse"})
    only: ClassVar[Only] = {"lora_rank": (None,), "lora_alpha": (None,)}

    def variables(self) -> list[Variable]:
        """Return the table."""
        return [Variable("embeddings")]

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it; numbers that come as floats are cut to whole ones, as in Keras."""
        x = net.keras(inputs[0])
        if x.example.is_floating_point():
            x = net.method("long", x)
        return net.apply(name, nn.Embedding, x, self["input_dim"], self["output_dim"])

    def state(self) -> State:
        """Rename the table."""
        return {"weight": self.tensor("embeddings")}
