"""Normalisation by batch, layer or group."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ecgnb.port.layers.base import (
    LAYERS,
    Args,
    LayerRule,
    ModuleRule,
    Options,
    State,
    as_list,
    count_problem,
)
from ecgnb.port.modules.keras_normalisation import (
    UnitNormalization as UnitNormalizationModule,
)
from ecgnb.port.network import KERAS, Network, Value
from ecgnb.port.reading.keras_weights import Variable


class Normalising(LayerRule):
    """Base of the layers that learn a scale and a shift."""

    renames = {"weight": "gamma", "bias": "beta"}

    def variables(self) -> list[Variable]:
        """Return gamma and beta, unless options turn them off."""
        options = {"gamma": "scale", "beta": "center"}
        return [Variable(name) for name in options if self.get(options[name], True)]

    def axes(self) -> list[int]:
        """Return the axes as Keras counts them."""
        return as_list(self.get("axis", -1))

    def state(self) -> State:
        state = super().state()
        if not state:
            return state
        known = next(iter(state.values()))  # PyTorch has scale and shift, or neither
        neutral = {"weight": torch.ones_like(known), "bias": torch.zeros_like(known)}
        return {**neutral, **state}


def apply_in_order(
    net: Network,
    name: str,
    kind: type[nn.Module],
    x: Value,
    order: list[int],
    *args: Any,
    **options: Any,
) -> Value:
    """Apply a module with dimensions in another order, and put them back."""
    if order == list(range(x.rank)):
        return net.apply(name, kind, net.keras(x), *args, **options)
    if order == [0, 2, 1]:
        return net.apply(name, kind, net.channels_first(x), *args, **options)
    permuted = net.method("permute", net.keras(x), order)
    output = net.apply(name, kind, permuted, *args, **options)
    back = [order.index(dim) for dim in range(x.rank)]
    return net.method("permute", output, back)


def channels_second(x: Value, axis: int) -> tuple[list[int], int]:
    """Return the order of dimensions that puts an axis right after the batch, and its
    length.
    """
    axis %= x.rank
    others = [dim for dim in range(1, x.rank) if dim != axis]
    return [0, axis, *others], x.shape[axis - 1]


def _one_axis_problem(axis: Any) -> str | None:
    wrong = len(as_list(axis)) != 1 or as_list(axis) == [0]
    return "(only one, and not the batch)" if wrong else None


@LAYERS.register("SyncBatchNormalization")
@LAYERS.register("BatchNormalizationV1")  # of TensorFlow 1.13 to 1.15
@LAYERS.register("BatchNormalization")
class BatchNormalization(Normalising):
    """Normalisation by moving statistics; epsilon is 1e-3 by default, and the momentum
    weights the old statistics, not the new.
    """

    # the last four change training alone, or nothing while ``renorm`` is off
    options = {
        "axis",
        "momentum",
        "epsilon",
        "center",
        "scale",
        "fused",
        "synchronized",
        "renorm_clipping",
        "renorm_momentum",
    }
    only = {
        "renorm": (False,),
        "virtual_batch_size": (None,),
        "adjustment": (None,),
        "mode": (0,),
    }
    checks = {"axis": _one_axis_problem}
    renames = {
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
        **Normalising.renames,
    }

    def variables(self) -> list[Variable]:
        """Return gamma, beta and the moving statistics."""
        moving = ("moving_mean", "moving_variance")
        statistics = [Variable(name, trainable=False) for name in moving]
        return super().variables() + statistics

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        x = inputs[0]
        kinds = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        order, size = channels_second(x, self.axes()[0])
        options = {
            "eps": self.get("epsilon", 1e-3),
            "momentum": round(1 - self.get("momentum", 0.99), 9),
        }
        kind = kinds[x.rank - 2]
        return apply_in_order(net, name, kind, x, order, size, **options)

    def state(self) -> State:
        return {**super().state(), "num_batches_tracked": torch.tensor(0)}


def _ascending_problem(axis: Any) -> str | None:
    """Refuse axes out of order, whose weights Keras itself would mix up."""
    axes = as_list(axis)
    ordered = axes == sorted(axes, key=lambda axis: (axis < 0, axis))
    if ordered and 0 not in axes:
        return None
    return "(only in ascending order, and not the batch)"


@LAYERS.register("LayerNormalization")
class LayerNormalization(Normalising):
    """Mean 0 and variance 1 over one axis or several; epsilon is 1e-3 by default."""

    options = {"axis", "epsilon", "center", "scale"}
    only = {"rms_scaling": (False,)}
    checks = {"axis": _ascending_problem}

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        x = inputs[0]
        axes = [axis % x.rank for axis in self.axes()]
        shape = [x.shape[axis - 1] for axis in axes]
        options: Options = {"eps": self.get("epsilon", 1e-3)}
        if not self.variables():
            options["elementwise_affine"] = False
        elif not self.get("center", True):
            options["bias"] = False
        order = [*(dim for dim in range(x.rank) if dim not in axes), *axes]
        return apply_in_order(net, name, nn.LayerNorm, x, order, shape, **options)

    def state(self) -> State:
        state = super().state()
        if "beta" not in self.layer.arrays:  # PyTorch's can do without a shift
            state.pop("bias", None)
        return state


def _group_count_problem(groups: Any) -> str | None:
    return None if groups == -1 else count_problem(groups)


def _group_axis_problem(axis: Any) -> str | None:
    """Refuse axes that Keras counts otherwise than they are written."""
    if len(as_list(axis)) == 1 and as_list(axis)[0] not in (0, -2, -3):
        return None
    return "(only -1, or counted from the front, and not the batch)"


@LAYERS.register("GroupNormalization")
class GroupNormalization(Normalising):
    """Mean 0 and variance 1 over groups of channels and all other axes; with -1 groups
    each channel alone.
    """

    options = {"groups", "axis", "epsilon", "center", "scale"}
    checks = {
        "groups": _group_count_problem,
        "axis": _group_axis_problem,
    }

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        order, size = channels_second(inputs[0], self.axes()[0])
        groups = self.get("groups", 32)
        args = size if groups == -1 else groups, size
        options: Options = {"eps": self.get("epsilon", 1e-3)}
        if not self.variables():
            options["affine"] = False
        return apply_in_order(
            net, name, nn.GroupNorm, inputs[0], order, *args, **options
        )


def _last_axis_problem(axis: Any) -> str | None:
    return None if as_list(axis) == [-1] else "(only -1)"


@LAYERS.register("RMSNormalization")
class RMSNormalization(ModuleRule):
    """Mean square 1 over the last axis; only Keras 3 has it."""

    options = {"axis", "epsilon"}
    checks = {"axis": _last_axis_problem}
    weights = ("scale",)
    renames = {"weight": "scale"}
    module = nn.RMSNorm
    layout = KERAS

    def args(self, x: Value) -> Args:
        return ([x.shape[-1]],)

    def module_options(self) -> Options:
        return {"eps": self.get("epsilon", 1e-6)}


@LAYERS.register("UnitNormalization")
class UnitNormalization(ModuleRule):
    """Vectors of length 1; shorter ones than epsilon are divided by that, which is 1e-6
    in Keras 2 and 1e-12 in Keras 3.
    """

    options = {"axis"}
    module = UnitNormalizationModule
    layout = KERAS

    def args(self, x: Value) -> Args:
        return (tuple(as_list(self.get("axis", -1))),)

    def module_options(self) -> Options:
        return {"eps": 1e-12 if self.layer.keras >= 3 else 1e-6}
