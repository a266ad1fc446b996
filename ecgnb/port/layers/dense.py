"""Dense and embedding layers, which are one matrix."""

from __future__ import annotations

from torch import nn

from ecgnb.port.layers.activation import ActivatedRule
from ecgnb.port.layers.base import NO_LORA, LayerRule, State, keras_layer
from ecgnb.port.network import KERAS, Network, Value


@keras_layer
class Dense(ActivatedRule):
    """A matrix on the last axis; Keras stores [in, out], PyTorch [out, in]."""

    options = {"units", "activation", "use_bias"}
    only = NO_LORA
    weights = ("kernel", "bias")
    renames = {"bias": "bias"}

    def apply_linear(self, net: Network, x: Value) -> Value:
        sizes = x.shape[-1], self["units"]
        return net.apply(nn.Linear, x, *sizes, layout=KERAS, **self.bias_option)

    def state(self) -> State:
        return {"weight": self.tensor("kernel").T, **super().state()}


@keras_layer
class Embedding(LayerRule):
    """One row of a table for each whole number."""

    options = {"input_dim", "output_dim", "mask_zero", "sparse"}
    only = NO_LORA
    weights = ("embeddings",)
    renames = {"weight": "embeddings"}

    def apply(self, net: Network, x: Value) -> Value:
        x = net.keras(x)
        if x.example.is_floating_point():  # floats are truncated, as in Keras
            x = net.method("long", x)
        return net.apply(nn.Embedding, x, self["input_dim"], self["output_dim"])
