"""Layers that move values and compute nothing."""

from __future__ import annotations

from torch import nn

from ecgnb.port.layers.base import CHANNELS_LAST, Args, ModuleRule, Options, keras_layer
from ecgnb.port.modules.basic import Crop1d
from ecgnb.port.modules.basic import Permute as PermuteModule
from ecgnb.port.modules.basic import RepeatVector as RepeatVectorModule
from ecgnb.port.modules.basic import Reshape as ReshapeModule
from ecgnb.port.network import CHANNELS_FIRST, KERAS


@keras_layer
class Flatten(ModuleRule):
    """All values in one row, time-major as in Keras."""

    only = CHANNELS_LAST
    module = nn.Flatten
    layout = KERAS


@keras_layer
class Reshape(ModuleRule):
    """Another shape."""

    options = {"target_shape"}
    module = ReshapeModule
    layout = KERAS

    def args(self) -> Args:
        return tuple(-1 if size is None else size for size in self["target_shape"])


@keras_layer
class Permute(ModuleRule):
    """Axes in another order."""

    options = {"dims"}
    module = PermuteModule
    layout = KERAS

    def args(self) -> Args:
        return tuple(self["dims"])  # counted from 1, without the batch


@keras_layer
class RepeatVector(ModuleRule):
    """The same vector at each time step."""

    options = {"n"}
    module = RepeatVectorModule
    layout = KERAS

    def args(self) -> Args:
        return (self["n"],)


class Edges(ModuleRule):
    """A layer with a number of samples at the beginning and one at the end."""

    only = CHANNELS_LAST
    layout = CHANNELS_FIRST

    def sides(self, option: str) -> tuple[int, int]:
        """Return both numbers, which Keras writes as ``2`` or ``[2, 2]``."""
        value = self.get(option, 1)
        left, right = (value, value) if isinstance(value, int) else value
        return left, right


@keras_layer
class ZeroPadding1D(Edges):
    """Zeros at both ends."""

    options = {"padding"}
    module = nn.ConstantPad1d

    def args(self) -> Args:
        return self.sides("padding"), 0.0


@keras_layer
class Cropping1D(Edges):
    """Samples dropped at both ends."""

    options = {"cropping"}
    module = Crop1d

    def args(self) -> Args:
        return self.sides("cropping")


@keras_layer
class UpSampling1D(ModuleRule):
    """Each sample several times."""

    options = {"size"}
    module = nn.Upsample
    layout = CHANNELS_FIRST

    def module_options(self) -> Options:
        # "nearest" rounds to the wrong sample at some sizes, such as 41
        return {"scale_factor": self.number("size", 2), "mode": "nearest-exact"}
