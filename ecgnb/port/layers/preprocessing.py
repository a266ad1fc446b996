"""Layers that rescale or normalise a signal within the model."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch

from ecgnb.port.layers.base import (
    LayerRule,
    Options,
    State,
    as_list,
    check_that,
    keras_layer,
)
from ecgnb.port.modules.keras_normalisation import Normalization as NormalizationModule
from ecgnb.port.modules.keras_normalisation import Rescaling as RescalingModule
from ecgnb.port.network import KERAS, Network, Value
from ecgnb.port.reading.keras_weights import Variable


def _is_one_row(value: Any) -> bool:
    return not any(isinstance(item, list | tuple) for item in as_list(value))


@keras_layer
class Rescaling(LayerRule):
    """x * scale + offset, one number or one per channel."""

    options = {"scale", "offset"}
    checks = dict.fromkeys(
        options, check_that(_is_one_row, "(only one number, or a list of them)")
    )

    def apply(self, net: Network, x: Value) -> Value:
        args: list[Any] = []
        for value in (self["scale"], self.get("offset", 0.0)):
            if isinstance(value, list | tuple):
                x = net.keras(x)  # one number per channel needs the channels last
                args.append(tuple(map(float, value)))
            else:
                args.append(float(value))
        return net.apply(RescalingModule, x, *args)


@keras_layer
class Normalization(LayerRule):
    """(x - mean) / sqrt(variance), of the configuration, or learnt by ``adapt`` and
    stored.
    """

    options = {"axis", "mean", "variance", "invert"}
    weights = ("mean", "variance", "count")  # count: samples seen by ``adapt``

    @property
    def _configured(self) -> bool:
        return self.get("mean") is not None

    def variables(self) -> list[Variable]:
        if self._configured:
            return []
        return super().variables()

    def apply(self, net: Network, x: Value) -> Value:
        axis = self.get("axis", -1)
        axes = [] if axis is None else as_list(axis)
        sizes = [1, *x.shape]
        shape = [1] * x.rank
        for axis in axes:  # one number for each position in them
            shape[axis % x.rank] = sizes[axis % x.rank]
        expected = prod(shape)
        count = np.size(self["mean"]) if self._configured else expected
        if count == 1:  # broadcast, whatever the axes
            shape = [1] * x.rank
        elif count != expected:
            raise ValueError(
                f"mean holds {count} numbers, the axes {axes} have {expected}"
            )
        options: Options = {"invert": True} if self.get("invert", False) else {}
        return net.apply(NormalizationModule, x, *shape, layout=KERAS, **options)

    def state(self) -> State:
        state = {}
        for name in ("mean", "variance"):
            if self._configured:
                tensor = torch.tensor(self[name], dtype=torch.float32)
            else:
                tensor = self.tensor(name)
            state[name] = tensor.flatten()
        return state
