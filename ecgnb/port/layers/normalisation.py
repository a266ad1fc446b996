"""Normalisation."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from ecgnb.port.layers.base import LAYERS, LayerRule, Only, State
from ecgnb.port.network import Network, Value
from ecgnb.port.weights import Variable


@LAYERS.register("BatchNormalization")
class BatchNormalization(LayerRule):
    """Keras' epsilon is 1e-3 unless said otherwise, and its momentum counts the old statistics, not the new."""

    options = frozenset({"axis", "momentum", "epsilon", "center", "scale", "renorm_clipping", "renorm_momentum"})
    only: ClassVar[Only] = {
        "renorm": (False,), "virtual_batch_size": (None,), "fused": (None, True, False), "synchronized": (False,)
    }  # fmt: skip

    def variables(self) -> list[Variable]:
        """Return what the options leave of gamma, beta and the moving statistics."""
        learnt = [("gamma", self.get("scale", True)), ("beta", self.get("center", True))]
        return [
            *(Variable(name) for name, used in learnt if used),
            Variable("moving_mean", trainable=False),
            Variable("moving_variance", trainable=False),
        ]

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it over channels, or, for the time axis, over that."""
        axis = self.number("axis", -1)
        x = inputs[0]
        if x.rank == 3:
            x = net.channels_first(x) if axis in (-1, 2) else net.keras(x)
        return net.apply(
            name,
            nn.BatchNorm1d,
            x,
            x.example.shape[1],
            eps=self.get("epsilon", 1e-3),
            momentum=round(1 - self.get("momentum", 0.99), 9),
        )

    def state(self) -> State:
        """Rename; what Keras leaves out is one or zero."""
        arrays = self.layer.arrays
        mean = self.tensor("moving_mean")
        return {
            "weight": self.tensor("gamma") if "gamma" in arrays else torch.ones_like(mean),
            "bias": self.tensor("beta") if "beta" in arrays else torch.zeros_like(mean),
            "running_mean": mean,
            "running_var": self.tensor("moving_variance"),
            "num_batches_tracked": torch.tensor(0),
        }
