"""Layers that act in training only; a port keeps them for fine-tuning."""

from __future__ import annotations

from typing import Any

from torch import nn

from ecgnb.port.layers.base import Args, LayerRule, ModuleRule, check_that, keras_layer
from ecgnb.port.modules.basic import GaussianDropout as GaussianDropoutModule
from ecgnb.port.modules.basic import GaussianNoise as GaussianNoiseModule
from ecgnb.port.network import CHANNELS_FIRST, Network, Value


def _is_noise_shape(shape: Any) -> bool:
    if shape is None:
        return True
    return len(shape) == 3 and shape[1] == 1 and 1 not in (shape[0], shape[2])


class RandomRule(ModuleRule):
    """A module that is built from one number: a rate or a standard deviation."""

    options = {"rate"}

    def args(self) -> Args:
        (option,) = self.options  # a rate or a deviation
        return (float(self[option]),)


@keras_layer
class Dropout(LayerRule):
    """Values are dropped at random, or with a noise shape of length 1 in time, whole
    channels.
    """

    options = {"rate", "noise_shape"}
    checks = {
        "noise_shape": check_that(
            _is_noise_shape, "(only None, or [None, 1, None] for whole channels)"
        ),
    }

    def apply(self, net: Network, x: Value) -> Value:
        rate = float(self["rate"])
        if self.get("noise_shape") is None:
            return net.apply(nn.Dropout, x, rate)
        return net.apply(nn.Dropout1d, x, rate, layout=CHANNELS_FIRST)


@keras_layer
class SpatialDropout1D(RandomRule):
    """Whole channels are dropped at random."""

    only = {"noise_shape": (None,)}
    module = nn.Dropout1d
    layout = CHANNELS_FIRST


@keras_layer
class AlphaDropout(RandomRule):
    """Values are set to SELU's lower bound at random, mean and variance kept."""

    only = {"noise_shape": (None,)}
    module = nn.AlphaDropout


@keras_layer
class GaussianNoise(RandomRule):
    """Noise is added."""

    options = {"stddev"}
    module = GaussianNoiseModule


@keras_layer
class GaussianDropout(RandomRule):
    """Values are multiplied by noise."""

    module = GaussianDropoutModule


@keras_layer
class ActivityRegularization(ModuleRule):
    """A term of Keras' loss, which a port does not carry; the values pass unchanged."""

    options = {"l1", "l2"}
    module = nn.Identity
