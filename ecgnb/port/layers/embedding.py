"""Tables that turn whole numbers into vectors."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from ecgnb.port.layers.base import LAYERS, LayerRule, Only, State
from ecgnb.port.network import Network, Value
from ecgnb.port.reading.weights import Variable


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
