"""Activations with options or weights, which Keras has as layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from ecgnb.port.layers.base import (
    Args,
    LayerRule,
    ModuleRule,
    Options,
    State,
    as_list,
    check_that,
    keras_layer,
)
from ecgnb.port.modules.keras_activation import ClippedReLU, ParametricReLU, SoftmaxOver
from ecgnb.port.network import CHANNELS_FIRST, KERAS, Network, Value

INFINITE = float("inf")


def real(value: Any, default: float) -> float:
    """Return a number, which some files of Keras 2 hold as ``{"type": "ndarray",
    "value": 0.3}``.
    """
    if isinstance(value, dict):
        value = value["value"]
    if value is None:
        return default
    return float(str(np.float32(value)))  # 0.1 may be 0.10000000149011612 in the file


@keras_layer
class ReLU(LayerRule):
    """max(x, 0), with an upper limit, a slope below the threshold, and a threshold."""

    options = {"max_value", "negative_slope", "threshold"}
    checks = {
        # NaN is refused, too
        "max_value": check_that(lambda x: real(x, INFINITE) >= 0, "(only from 0 on)"),
    }

    def apply(self, net: Network, x: Value) -> Value:
        limit = real(self.get("max_value"), INFINITE)
        slope = real(self.get("negative_slope"), 0.0)
        threshold = real(self.get("threshold"), 0.0)
        match limit != INFINITE, slope != 0, threshold != 0:
            case False, False, False:
                return net.apply(nn.ReLU, x)
            case True, False, False if limit > 0:  # `nn.Hardtanh` needs a range
                return net.apply(nn.Hardtanh, x, 0.0, limit)
            case False, True, False:
                return net.apply(nn.LeakyReLU, x, slope)
            case False, False, True:
                return net.apply(nn.Threshold, x, threshold, 0.0)
        maximum = None if limit == INFINITE else limit
        return net.apply(ClippedReLU, x, maximum, slope, threshold)


@keras_layer
class LeakyReLU(ModuleRule):
    """A slope below 0: ``alpha`` in Keras 1 and 2, ``negative_slope`` in Keras 3, 0.3
    in both when left out.
    """

    options = {"alpha", "negative_slope"}
    module = nn.LeakyReLU

    def args(self) -> Args:
        alpha = real(self.get("alpha"), 0.3)
        return (real(self.get("negative_slope"), alpha),)


@keras_layer
class ELU(ModuleRule):
    """alpha (exp(x) - 1) below 0."""

    options = {"alpha"}
    module = nn.ELU

    def module_options(self) -> Options:
        alpha = real(self.get("alpha"), 1.0)
        if alpha == 1:
            return {}
        return {"alpha": alpha}


@keras_layer
class ThresholdedReLU(ModuleRule):
    """x above theta, else 0."""

    options = {"theta"}
    module = nn.Threshold

    def args(self) -> Args:
        return real(self.get("theta"), 1.0), 0.0


@keras_layer
class PReLU(LayerRule):
    """A learnt slope for each position of the input, or one for all positions along
    the shared axes.
    """

    options = {"shared_axes"}
    weights = ("alpha",)

    def _axes(self, rank: int) -> list[int]:
        """Return the axes along which slopes differ."""
        shared = as_list(self.get("shared_axes") or [])
        return sorted(set(range(1, rank)) - {axis % rank for axis in shared})

    def apply(self, net: Network, x: Value) -> Value:
        axes = self._axes(x.rank)
        if not axes:
            return net.apply(nn.PReLU, x)
        if axes == [2] and x.rank == 3:
            return net.apply(nn.PReLU, x, x.shape[-1], layout=CHANNELS_FIRST)
        if axes == [1]:  # one slope per time step
            return net.apply(nn.PReLU, x, x.shape[0], layout=KERAS)
        shape = [1] * len(x.shape)
        for axis in axes:
            shape[axis - 1] = x.shape[axis - 1]
        return net.apply(ParametricReLU, x, *shape, layout=KERAS)

    def state(self) -> State:
        alpha = self.tensor("alpha")
        axes = self._axes(alpha.ndim + 1)
        # `nn.PReLU` has its slopes in one row, `ParametricReLU` in the input's shape
        if not axes or axes == [1] or (axes == [2] and alpha.ndim == 2):
            alpha = alpha.flatten()
        return {"weight": alpha}


@keras_layer
class Softmax(LayerRule):
    """Softmax as a layer, over one axis or several."""

    options = {"axis"}

    def apply(self, net: Network, x: Value) -> Value:
        axes = as_list(self.get("axis", -1))
        if len(axes) == 1:
            return net.apply(nn.Softmax, x, layout=KERAS, dim=axes[0])
        return net.apply(SoftmaxOver, x, tuple(axes), layout=KERAS)
