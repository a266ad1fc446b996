"""Layers that do something in training only; a port keeps them for fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

from ecgnb.port.layers.base import LAYERS, LayerRule, Only
from ecgnb.port.modules.basic import GaussianDropout as GaussianDropoutModule
from ecgnb.port.modules.basic import GaussianNoise as GaussianNoiseModule
from ecgnb.port.network import Network, Value


@LAYERS.register("Dropout")
class Dropout(LayerRule):
    """Values go by chance, or with a noise shape of length 1 in time, whole
    channels.
    """

    options = frozenset({"rate", "noise_shape"})

    @property
    def _by_channel(self) -> bool:
        shape = self.get("noise_shape")
        return (
            shape is not None
            and len(shape) == 3
            and shape[1] == 1
            and 1 not in (shape[0], shape[2])
        )

    def problems(self) -> Iterator[str]:
        """Yield unknown options, and a noise shape that is not of whole channels."""
        yield from super().problems()
        if self.get("noise_shape") is not None and not self._by_channel:
            yield f"noise_shape={self['noise_shape']!r} (only None, or [None, 1, None] for whole channels)"

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it."""
        if self._by_channel:
            return net.apply(
                name, nn.Dropout1d, net.channels_first(inputs[0]), float(self["rate"])
            )
        return net.apply(name, nn.Dropout, inputs[0], float(self["rate"]))


@LAYERS.register("SpatialDropout1D")
class SpatialDropout1D(LayerRule):
    """Whole channels go by chance."""

    options = frozenset({"rate"})
    only: ClassVar[Only] = {"noise_shape": (None,)}

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it."""
        return net.apply(
            name, nn.Dropout1d, net.channels_first(inputs[0]), float(self["rate"])
        )


@LAYERS.register("AlphaDropout")
class AlphaDropout(LayerRule):
    """Values go to SELU's lower bound by chance, mean and variance kept."""

    options = frozenset({"rate"})
    only: ClassVar[Only] = {"noise_shape": (None,)}

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it."""
        return net.apply(name, nn.AlphaDropout, inputs[0], float(self["rate"]))


@LAYERS.register("GaussianNoise")
class GaussianNoise(LayerRule):
    """Noise is added."""

    options = frozenset({"stddev"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it."""
        return net.apply(name, GaussianNoiseModule, inputs[0], float(self["stddev"]))


@LAYERS.register("GaussianDropout")
class GaussianDropout(LayerRule):
    """Values are multiplied by noise."""

    options = frozenset({"rate"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it."""
        return net.apply(name, GaussianDropoutModule, inputs[0], float(self["rate"]))


@LAYERS.register("ActivityRegularization")
class ActivityRegularization(LayerRule):
    """A term of Keras' loss, which a port does not carry; the values pass unchanged."""

    options = frozenset({"l1", "l2"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it, so that the layer can be seen."""
        return net.apply(name, nn.Identity, inputs[0])
