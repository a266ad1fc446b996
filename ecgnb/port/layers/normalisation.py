"""Normalisation by batch, layer or group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import nn

from ecgnb.port.layers.base import LAYERS, LayerRule, Only, State, count_problem
from ecgnb.port.modules.keras_normalisation import (
    UnitNormalization as UnitNormalizationModule,
)
from ecgnb.port.network import Network, Value
from ecgnb.port.reading.keras_weights import Variable


class Normalising(LayerRule):
    """A layer that learns a scale and a shift."""

    scale_name: ClassVar[str] = "gamma"

    def variables(self) -> list[Variable]:
        """Return what the options leave of scale and shift."""
        learnt = [
            (self.scale_name, self.get("scale", True)),
            ("beta", self.get("center", True)),
        ]
        return [Variable(name) for name, used in learnt if used]

    def axes(self) -> list[int]:
        """Return the axes as Keras counts them, which it writes as ``-1`` or ``[1,
        2]``.
        """
        axis = self.get("axis", -1)
        return [axis] if isinstance(axis, int) else list(axis)

    def state(self) -> State:
        """Rename; what Keras leaves out is one or zero."""
        arrays = self.layer.arrays
        state: State = {}
        if self.scale_name in arrays:
            state["weight"] = self.tensor(self.scale_name)
        if "beta" in arrays:
            state["bias"] = self.tensor("beta")
        return state


def in_order(
    net: Network, x: Value, order: list[int], write: Callable[[Value], Value]
) -> Value:
    """Write a module on dimensions in another order, and put them back."""
    if order == list(range(x.rank)):
        return write(net.keras(x))
    if x.rank == 3 and order == [0, 2, 1]:
        return write(net.channels_first(x))
    back = [order.index(dim) for dim in range(x.rank)]
    return net.method(
        "permute", write(net.method("permute", net.keras(x), order)), back
    )


def channels_second(rank: int, axis: int) -> list[int]:
    """Return the order of dimensions that puts an axis right after the batch."""
    axis %= rank
    return [0, axis, *(dim for dim in range(1, rank) if dim != axis)]


#: Options of batch normalisation that change training alone, or nothing while
#: ``renorm`` is off.
_OF_TRAINING = {"fused", "synchronized", "renorm_clipping", "renorm_momentum"}


@LAYERS.register("SyncBatchNormalization")
@LAYERS.register("BatchNormalizationV1")  # of TensorFlow 1.13 to 1.15
@LAYERS.register("BatchNormalization")
class BatchNormalization(Normalising):
    """Keras' epsilon is 1e-3 unless said otherwise, and its momentum counts the old
    statistics, not the new.
    """

    options = (
        frozenset({"axis", "momentum", "epsilon", "center", "scale"}) | _OF_TRAINING
    )
    only: ClassVar[Only] = {
        "renorm": (False,),
        "virtual_batch_size": (None,),
        "adjustment": (None,),
        "mode": (0,),
    }

    def variables(self) -> list[Variable]:
        """Return what the options leave of gamma and beta, and the moving
        statistics.
        """
        moving = ("moving_mean", "moving_variance")
        return [
            *super().variables(),
            *(Variable(name, trainable=False) for name in moving),
        ]

    def problems(self) -> Iterator[str]:
        """Yield unknown options, and several axes."""
        yield from super().problems()
        if len(self.axes()) != 1 or self.axes() == [0]:
            yield f"axis={self['axis']!r} (only one, and not the batch)"

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it over the axis, which is brought to the channels' place."""
        x = inputs[0]
        kind = {
            2: nn.BatchNorm1d,
            3: nn.BatchNorm1d,
            4: nn.BatchNorm2d,
            5: nn.BatchNorm3d,
        }[x.rank]
        options = {
            "eps": self.get("epsilon", 1e-3),
            "momentum": round(1 - self.get("momentum", 0.99), 9),
        }
        axis = self.axes()[0]
        size = x.shape[axis if axis < 0 else axis - 1]
        return in_order(
            net,
            x,
            channels_second(x.rank, axis),
            lambda v: net.apply(name, kind, v, size, **options),
        )

    def state(self) -> State:
        """Rename; what Keras leaves out is one or zero."""
        mean = self.tensor("moving_mean")
        return {
            "weight": torch.ones_like(mean),
            "bias": torch.zeros_like(mean),
            "running_mean": mean,
            "running_var": self.tensor("moving_variance"),
            "num_batches_tracked": torch.tensor(0),
            **super().state(),
        }


@LAYERS.register("LayerNormalization")
class LayerNormalization(Normalising):
    """Mean 0 and variance 1 over one axis or several; epsilon is 1e-3 unless said
    otherwise.
    """

    options = frozenset({"axis", "epsilon", "center", "scale"})
    only: ClassVar[Only] = {"rms_scaling": (False,)}

    def problems(self) -> Iterator[str]:
        """Yield unknown options, and axes out of order, whose weights Keras itself
        would mix up.
        """
        yield from super().problems()
        if 0 in self.axes() or self.axes() != sorted(
            self.axes(), key=lambda axis: (axis < 0, axis)
        ):
            yield f"axis={self['axis']!r} (only in ascending order, and not the batch)"

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it over the axes, which are brought to the end."""
        x = inputs[0]
        axes = [axis % x.rank for axis in self.axes()]
        shape = [x.shape[axis - 1] for axis in axes]
        options: dict[str, Any] = {"eps": self.get("epsilon", 1e-3)}
        options |= {} if self.variables() else {"elementwise_affine": False}
        options |= (
            {} if self.get("center", True) or not self.variables() else {"bias": False}
        )
        order = [*(dim for dim in range(x.rank) if dim not in axes), *axes]
        return in_order(
            net, x, order, lambda v: net.apply(name, nn.LayerNorm, v, shape, **options)
        )

    def state(self) -> State:
        """Rename; a scale that Keras leaves out is one."""
        state = super().state()
        return (
            {"weight": torch.ones_like(state["bias"]), **state}
            if "bias" in state
            else state
        )


@LAYERS.register("GroupNormalization")
class GroupNormalization(Normalising):
    """Mean 0 and variance 1 over groups of channels and all other axes; -1 groups: each
    channel by itself.
    """

    options = frozenset({"groups", "axis", "epsilon", "center", "scale"})
    counts = frozenset()

    def problems(self) -> Iterator[str]:
        """Yield unknown options, no groups, and an axis that Keras counts otherwise
        than it says.
        """
        yield from super().problems()
        if self.get("groups") != -1:
            yield from count_problem("groups", self.get("groups"))
        if len(self.axes()) != 1 or self.axes()[0] in (0, -2, -3):
            yield f"axis={self['axis']!r} (only -1, or counted from the front, and not the batch)"

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it over the axis, which is brought to the channels' place."""
        x, axis = inputs[0], self.axes()[0]
        size = x.shape[axis if axis < 0 else axis - 1]
        groups = size if self.get("groups", 32) == -1 else self.get("groups", 32)
        options: dict[str, Any] = {"eps": self.get("epsilon", 1e-3)}
        options |= {} if self.variables() else {"affine": False}
        order = channels_second(x.rank, axis)
        return in_order(
            net,
            x,
            order,
            lambda v: net.apply(name, nn.GroupNorm, v, groups, size, **options),
        )

    def state(self) -> State:
        """Rename; what Keras leaves out is one or zero."""
        state = super().state()
        if not state:
            return state
        known = next(iter(state.values()))
        return {
            "weight": torch.ones_like(known),
            "bias": torch.zeros_like(known),
            **state,
        }


@LAYERS.register("RMSNormalization")
class RMSNormalization(Normalising):
    """Mean square 1 over the last axes; only Keras 3 has it."""

    options = frozenset({"axis", "epsilon"})
    scale_name = "scale"

    def variables(self) -> list[Variable]:
        """Return the scale."""
        return [Variable("scale")]

    def problems(self) -> Iterator[str]:
        """Yield unknown options, and another axis than the last."""
        yield from super().problems()
        if self.axes() != [-1]:
            yield f"axis={self['axis']!r} (only -1)"

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it."""
        x = net.keras(inputs[0])
        return net.apply(
            name, nn.RMSNorm, x, [x.shape[-1]], eps=self.get("epsilon", 1e-6)
        )


@LAYERS.register("UnitNormalization")
class UnitNormalization(LayerRule):
    """Vectors of length 1."""

    options = frozenset({"axis"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it; Keras 2 takes vectors for shorter than 1e-6 as they are divided by
        that, Keras 3 below 1e-12.
        """
        axis = self.get("axis", -1)
        dims = (axis,) if isinstance(axis, int) else tuple(axis)
        eps = 1e-12 if self.layer.keras >= 3 else 1e-6
        return net.apply(
            name, UnitNormalizationModule, net.keras(inputs[0]), dims, eps=eps
        )
