"""Layers that prepare a signal within the model."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, ClassVar

import torch

from ecgnb.port.layers.base import LAYERS, LayerRule, State
from ecgnb.port.modules.keras_normalisation import Normalization as NormalizationModule
from ecgnb.port.modules.keras_normalisation import Rescaling as RescalingModule
from ecgnb.port.network import Network, Value
from ecgnb.port.reading.keras_weights import Variable


def _flat(value: Any) -> list[float]:
    """Return all numbers of nested lists in a row."""
    return (
        [number for item in value for number in _flat(item)]
        if isinstance(value, list | tuple)
        else [float(value)]
    )


@LAYERS.register("Rescaling")
class Rescaling(LayerRule):
    """Times a number or one for each channel, plus another."""

    options = frozenset({"scale", "offset"})

    def problems(self) -> Iterator[str]:
        """Yield unknown options, and numbers in more than one row."""
        yield from super().problems()
        for option in ("scale", "offset"):
            value = self.get(option, 0.0)
            if isinstance(value, list | tuple) and any(
                isinstance(item, list | tuple) for item in value
            ):
                yield f"{option}={value!r} (only one number, or a list of them)"

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it; numbers for each channel need Keras' layout."""
        given = [self["scale"], self.get("offset", 0.0)]
        each = [
            tuple(map(float, value))
            if isinstance(value, list | tuple)
            else float(value)
            for value in given
        ]
        x = (
            inputs[0]
            if all(isinstance(value, float) for value in each)
            else net.keras(inputs[0])
        )
        return net.apply(name, RescalingModule, x, *each)


@LAYERS.register("Normalization")
class Normalization(LayerRule):
    """Less the mean, through the standard deviation: told in the configuration, or
    learnt by ``adapt`` and stored.
    """

    options = frozenset({"axis", "mean", "variance", "invert"})
    statistics: ClassVar[tuple[str, ...]] = ("mean", "variance")

    @property
    def _told(self) -> bool:
        return self.get("mean") is not None

    def variables(self) -> list[Variable]:
        """Return the learnt statistics, and the number of samples they were learnt
        from.
        """
        return (
            []
            if self._told
            else [
                Variable(name, trainable=False) for name in (*self.statistics, "count")
            ]
        )

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it on Keras' layout, with a number for each place along the axes that
        are kept.
        """
        x = net.keras(inputs[0])
        axis = self.get("axis", -1)
        listed = [] if axis is None else [axis] if isinstance(axis, int) else list(axis)
        kept = {each % x.rank for each in listed}
        shape = [
            1,
            *(size if dim in kept else 1 for dim, size in enumerate(x.shape, start=1)),
        ]
        if self._told and len(_flat(self["mean"])) == 1:
            shape = [1] * x.rank
        elif self._told and len(_flat(self["mean"])) != prod(shape):
            raise ValueError(
                f"mean holds {len(_flat(self['mean']))} numbers, the axes {listed} have {prod(shape)}"
            )
        options: dict[str, Any] = {"invert": True} if self.get("invert", False) else {}
        return net.apply(name, NormalizationModule, x, *shape, **options)

    def state(self) -> State:
        """Return both statistics in a row."""
        if self._told:
            return {name: torch.tensor(_flat(self[name])) for name in self.statistics}
        return {name: self.tensor(name).flatten() for name in self.statistics}
