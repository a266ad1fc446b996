"""Activations with options or weights, which Keras has as layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

from ecgnb.port.layers.base import LAYERS, LayerRule, State
from ecgnb.port.modules.keras_activation import ClippedReLU, ParametricReLU, SoftmaxOver
from ecgnb.port.network import Network, Value
from ecgnb.port.reading.keras_weights import Variable


class Elementwise(LayerRule):
    """An activation whose options are numbers."""

    def real(self, option: str, default: float) -> float:
        """Return a number, which some files of Keras 2 hold as ``{"type": "ndarray",
        "value": 0.3}``.
        """
        value = self.get(option, default)
        value = value["value"] if isinstance(value, dict) else value
        return (
            default if value is None else float(str(np.float32(value)))
        )  # 0.1 may be 0.10000000149011612 in the file


@LAYERS.register("ReLU")
class ReLU(Elementwise):
    """max(x, 0), or with a limit, a slope below the threshold, and a threshold other
    than 0.
    """

    options = frozenset({"max_value", "negative_slope", "threshold"})

    def problems(self) -> Iterator[str]:
        """Yield unknown options, and a limit below 0, which Keras does not take."""
        yield from super().problems()
        if not self.real("max_value", float("inf")) >= 0:  # also NaN
            yield f"max_value={self['max_value']!r} (only from 0 on)"

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write the module of PyTorch for those options, if there is one."""
        infinite = float("inf")
        limit, slope = (
            self.real("max_value", infinite),
            self.real("negative_slope", 0.0),
        )
        threshold = self.real("threshold", 0.0)
        given = (limit != infinite, slope != 0, threshold != 0)
        if given == (False, False, False):
            return net.apply(name, nn.ReLU, inputs[0])
        if (
            given == (True, False, False) and limit > 0
        ):  # `nn.Hardtanh` takes no empty range
            return net.apply(name, nn.Hardtanh, inputs[0], 0.0, limit)
        if given == (False, True, False):
            return net.apply(name, nn.LeakyReLU, inputs[0], slope)
        if given == (False, False, True):
            return net.apply(name, nn.Threshold, inputs[0], threshold, 0.0)
        return net.apply(
            name,
            ClippedReLU,
            inputs[0],
            limit if limit != infinite else None,
            slope,
            threshold,
        )


@LAYERS.register("LeakyReLU")
class LeakyReLU(Elementwise):
    """A slope below 0: ``alpha`` in Keras 1 and 2, ``negative_slope`` in Keras 3, 0.3
    in both when left out.
    """

    options = frozenset({"alpha", "negative_slope"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it."""
        return net.apply(
            name,
            nn.LeakyReLU,
            inputs[0],
            self.real("negative_slope", self.real("alpha", 0.3)),
        )


@LAYERS.register("ELU")
class ELU(Elementwise):
    """alpha (exp(x) - 1) below 0."""

    options = frozenset({"alpha"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it."""
        alpha = self.real("alpha", 1.0)
        options: dict[str, Any] = {} if alpha == 1 else {"alpha": alpha}
        return net.apply(name, nn.ELU, inputs[0], **options)


@LAYERS.register("ThresholdedReLU")
class ThresholdedReLU(Elementwise):
    """x above theta, else 0."""

    options = frozenset({"theta"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it."""
        return net.apply(name, nn.Threshold, inputs[0], self.real("theta", 1.0), 0.0)


@LAYERS.register("PReLU")
class PReLU(LayerRule):
    """A learnt slope for each place of the input, or one for all places along the
    shared axes.
    """

    options = frozenset({"shared_axes"})

    def variables(self) -> list[Variable]:
        """Return the slopes."""
        return [Variable("alpha")]

    def _shared(self) -> list[int]:
        shared = self.get("shared_axes") or []
        return [shared] if isinstance(shared, int) else list(shared)

    def _own(self, rank: int) -> list[int]:
        """Return the axes along which slopes differ."""
        shared = [axis % rank for axis in self._shared()]
        return [axis for axis in range(1, rank) if axis not in shared]

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write `nn.PReLU` where slopes differ along one axis at most that it can see,
        else one for each place.
        """
        x = inputs[0]
        own = self._own(x.rank)
        if not own:
            return net.apply(name, nn.PReLU, x)
        if own == [x.rank - 1] and x.rank == 3:
            return net.apply(name, nn.PReLU, net.channels_first(x), x.shape[-1])
        if own == [1]:
            return net.apply(name, nn.PReLU, net.keras(x), x.shape[0])
        shape = [
            size if axis in own else 1 for axis, size in enumerate(x.shape, start=1)
        ]
        return net.apply(name, ParametricReLU, net.keras(x), *shape)

    def state(self) -> State:
        """Return the slopes in a row where `nn.PReLU` takes them."""
        alpha = self.tensor("alpha")
        own = self._own(alpha.ndim + 1)
        in_a_row = not own or own == [1] or (own == [2] and alpha.ndim == 2)
        return {"weight": alpha.flatten() if in_a_row else alpha}


@LAYERS.register("Softmax")
class Softmax(LayerRule):
    """Softmax as a layer, over one axis or several."""

    options = frozenset({"axis"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it along the axes that Keras names."""
        axis = self.get("axis", -1)
        axes = axis if isinstance(axis, list | tuple) else [axis]
        if len(axes) == 1:
            return net.apply(name, nn.Softmax, net.keras(inputs[0]), dim=axes[0])
        return net.apply(name, SoftmaxOver, net.keras(inputs[0]), tuple(axes))
