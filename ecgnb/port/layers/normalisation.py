"""Normalisation by batch, layer or group."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from ecgnb.port.layers.base import (
    LAYERS,
    LayerRule,
    Options,
    State,
    as_list,
    check_that,
    count_problem,
    keras_layer,
)
from ecgnb.port.modules.keras_normalisation import (
    UnitNormalization as UnitNormalizationModule,
)
from ecgnb.port.network import CHANNELS_FIRST, KERAS, Network, Value


class Normalising(LayerRule):
    """Base of the layers that learn a scale and a shift."""

    weights: ClassVar[tuple[str, ...]] = ("gamma", "beta")
    renames = {"weight": "gamma", "bias": "beta"}

    def axes(self) -> list[int]:
        """Return the axes as Keras counts them."""
        return as_list(self.get("axis", -1))

    def state(self) -> State:
        state = super().state()
        for tensor in list(state.values())[:1]:
            # PyTorch has scale and shift, or neither
            state.setdefault("weight", torch.ones_like(tensor))
            state.setdefault("bias", torch.zeros_like(tensor))
        return state


def apply_in_order(
    net: Network,
    kind: type[nn.Module],
    x: Value,
    order: list[int],
    *args: Any,
    **options: Any,
) -> Value:
    """Apply a module with dimensions in another order, and put them back."""
    if order == list(range(x.rank)):
        return net.apply(kind, x, *args, layout=KERAS, **options)
    if order == [0, 2, 1]:
        return net.apply(kind, x, *args, layout=CHANNELS_FIRST, **options)
    permuted = net.method("permute", net.keras(x), order)
    output = net.apply(kind, permuted, *args, **options)
    back = [order.index(dim) for dim in range(x.rank)]  # the inverse permutation
    return net.method("permute", output, back)


def channels_second(x: Value, axis: int) -> tuple[list[int], int]:
    """Return the order of dimensions that puts an axis right after the batch, and its
    length.
    """
    axis %= x.rank
    others = [dim for dim in range(1, x.rank) if dim != axis]
    return [0, axis, *others], x.shape[axis - 1]


def _is_one_axis(axis: Any) -> bool:
    return len(as_list(axis)) == 1 and as_list(axis) != [0]


@LAYERS.register("SyncBatchNormalization")
@LAYERS.register("BatchNormalizationV1")  # of TensorFlow 1.13 to 1.15
@keras_layer
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
    checks = {"axis": check_that(_is_one_axis, "(only one, and not the batch)")}
    weights = ("gamma", "beta", "moving_mean", "moving_variance")
    renames = {
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
        **Normalising.renames,
    }

    def apply(self, net: Network, x: Value) -> Value:
        kinds = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        order, size = channels_second(x, self.axes()[0])
        options = {
            "eps": self.get("epsilon", 1e-3),
            # PyTorch weights the new statistics
            "momentum": round(1 - self.get("momentum", 0.99), 9),
        }
        kind = kinds[x.rank - 2]  # rank 2 to 5
        return apply_in_order(net, kind, x, order, size, **options)

    def state(self) -> State:
        return super().state() | {"num_batches_tracked": torch.tensor(0)}


def _is_ascending(axis: Any) -> bool:
    """Whether axes are in order; else Keras itself would mix up their weights."""
    axes = as_list(axis)
    ordered = sorted(axes, key=lambda axis: (axis < 0, axis))  # -1 after 2
    return axes == ordered and 0 not in axes


@keras_layer
class LayerNormalization(Normalising):
    """Mean 0 and variance 1 over one axis or several; epsilon is 1e-3 by default."""

    options = {"axis", "epsilon", "center", "scale"}
    only = {"rms_scaling": (False,)}
    checks = {
        "axis": check_that(
            _is_ascending, "(only in ascending order, and not the batch)"
        ),
    }

    def apply(self, net: Network, x: Value) -> Value:
        axes = [axis % x.rank for axis in self.axes()]
        shape = [x.shape[axis - 1] for axis in axes]
        options: Options = {"eps": self.get("epsilon", 1e-3)}
        if not self.variables():
            options["elementwise_affine"] = False
        elif not self.get("center", True):
            options["bias"] = False
        others = [dim for dim in range(x.rank) if dim not in axes]
        order = others + axes  # PyTorch normalises the last dimensions
        return apply_in_order(net, nn.LayerNorm, x, order, shape, **options)

    def state(self) -> State:
        state = super().state()
        if "beta" not in self.layer.arrays:  # `nn.LayerNorm` can do without a shift
            state.pop("bias", None)
        return state


def _group_count_problem(groups: Any) -> str | None:
    if groups == -1:
        return None
    return count_problem(groups)


def _is_group_axis(axis: Any) -> bool:
    """Whether Keras counts an axis as it is written."""
    axes = as_list(axis)
    return len(axes) == 1 and axes[0] not in (0, -2, -3)


@keras_layer
class GroupNormalization(Normalising):
    """Mean 0 and variance 1 over groups of channels and all other axes; with -1 groups
    each channel alone.
    """

    options = {"groups", "axis", "epsilon", "center", "scale"}
    checks = {
        "groups": _group_count_problem,
        "axis": check_that(
            _is_group_axis, "(only -1, or counted from the front, and not the batch)"
        ),
    }

    def apply(self, net: Network, x: Value) -> Value:
        order, size = channels_second(x, self.axes()[0])
        groups = self.get("groups", 32)  # Wu and He 2018
        if groups == -1:
            groups = size
        options: Options = {"eps": self.get("epsilon", 1e-3)}
        if not self.variables():
            options["affine"] = False
        return apply_in_order(net, nn.GroupNorm, x, order, groups, size, **options)


@keras_layer
class RMSNormalization(LayerRule):
    """Mean square 1 over the last axis; only Keras 3 has it."""

    options = {"axis", "epsilon"}
    checks = {"axis": check_that(lambda axis: as_list(axis) == [-1], "(only -1)")}
    weights = ("scale",)
    renames = {"weight": "scale"}

    def apply(self, net: Network, x: Value) -> Value:
        eps = self.get("epsilon", 1e-6)
        return net.apply(nn.RMSNorm, x, [x.shape[-1]], layout=KERAS, eps=eps)


@keras_layer
class UnitNormalization(LayerRule):
    """Vectors of length 1; shorter ones than epsilon are divided by that, which is 1e-6
    in Keras 2 and 1e-12 in Keras 3.
    """

    options = {"axis"}

    def apply(self, net: Network, x: Value) -> Value:
        axes = tuple(as_list(self.get("axis", -1)))
        eps = 1e-12 if self.layer.keras >= 3 else 1e-6
        return net.apply(UnitNormalizationModule, x, axes, layout=KERAS, eps=eps)
