"""Activations, as layers and inside other layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from ecgnb.port.layers.base import LAYERS, LayerRule, ModuleRule, Options, keras_layer
from ecgnb.port.modules.keras_activation import (
    Exponential,
    HardSigmoid,
    SparsePlus,
    SparseSigmoid,
    Squareplus,
)
from ecgnb.port.network import CHANNELS_FIRST, Network, Value
from ecgnb.port.reading.graph import Layer

#: A module's class and the keyword arguments of its constructor.
Making = tuple[type[nn.Module], Options]

#: Modules of the activations that are the same in every version of Keras.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "exponential": Exponential,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "linear": nn.Identity,
    "mish": nn.Mish,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
}
_KERAS_2 = {**ACTIVATIONS, "hard_sigmoid": HardSigmoid}  # slope 0.2
#: Those of Keras 3.
KERAS_3 = {
    **ACTIVATIONS,
    "celu": nn.CELU,
    "hard_shrink": nn.Hardshrink,
    "hard_sigmoid": nn.Hardsigmoid,  # slope 1 / 6
    "hard_silu": nn.Hardswish,
    "hard_swish": nn.Hardswish,
    "hard_tanh": nn.Hardtanh,
    "log_sigmoid": nn.LogSigmoid,
    "soft_shrink": nn.Softshrink,
    "sparse_plus": SparsePlus,
    "sparse_sigmoid": SparseSigmoid,
    "squareplus": Squareplus,
    "tanh_shrink": nn.Tanhshrink,
}
#: Activations over Keras' last axis.
OVER_CHANNELS: dict[str, type[nn.Module]] = {
    "glu": nn.GLU,
    "log_softmax": nn.LogSoftmax,
    "softmax": nn.Softmax,
}
#: Layers without weights that other layers may have as their activation.
LAYERS_AS_ACTIVATION = (
    "Activation",
    "ELU",
    "LeakyReLU",
    "ReLU",
    "Softmax",
    "ThresholdedReLU",
)


def making_of(name: str, keras: int, dim: int = -1) -> Making | None:
    """Return how to make the module of an activation, or ``None`` where that Keras
    has no such name.

    Args:
        name: of Keras, such as ``"relu"``.
        keras: major version of Keras; ``"hard_sigmoid"`` differs.
        dim: dimension of the channels.
    """
    if name in OVER_CHANNELS:
        return OVER_CHANNELS[name], {"dim": dim}
    by_name = KERAS_3 if keras >= 3 else _KERAS_2
    if name not in by_name:
        return None
    if name == "leaky_relu":  # 0.2 as a name, 0.3 as a layer
        return nn.LeakyReLU, {"negative_slope": 0.2}
    return by_name[name], {}


def activation_name(value: Any) -> str:
    """Return the name of an activation, which Keras writes as text, ``null`` or a
    serialised layer.
    """
    if isinstance(value, dict):
        return str(value.get("registered_name") or value.get("class_name", "code"))
    if value is None:
        return "linear"
    return str(value)


def activation_problem(value: Any, keras: int) -> Iterator[str]:
    """Yield why an activation cannot be ported.

    Args:
        value: as Keras serialised it.
        keras: major version of the Keras that wrote it.
    """
    name = activation_name(value)
    if not isinstance(value, dict):
        if making_of(name, keras) is None:
            yield f"activation={name!r} is unknown to the port"
    elif name in LAYERS_AS_ACTIVATION:
        for problem in _rule_of(value, keras).problems():
            yield f"activation={name}: {problem}"
    elif name in ("function", "code", "__lambda__"):
        yield (
            f"activation is the function {value.get('config', 'lambda')!r}, whose code "
            "is not ported from a file"
        )
    else:
        yield f"activation={name!r} is a layer that cannot be an activation"


def activate(net: Network, value: Value, activation: Any, keras: int) -> Value:
    """Apply an activation as Keras serialised it; ``linear`` adds nothing.

    Args:
        net: the graph that is being written.
        value: its input.
        activation: a name, ``None``, or a serialised layer.
        keras: major version of the Keras that wrote it.
    """
    if isinstance(activation, dict):
        return _rule_of(activation, keras).apply(net, value)
    name = activation_name(activation)
    if name == "linear":
        return value
    dim = 1 if value.layout == CHANNELS_FIRST else -1
    making = making_of(name, keras, dim)
    assert making is not None, activation  # checked by `activation_problem`
    kind, options = making
    return net.apply(kind, value, **options)


def _rule_of(activation: Options, keras: int) -> LayerRule:
    kind = activation["class_name"]
    config = activation["config"]
    layer = Layer(str(config.get("name", kind)), kind, config, keras)
    return LAYERS.get(kind)(layer)


class ActivatedRule(LayerRule):
    """A layer with an activation after what it computes."""

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from activation_problem(self.get("activation"), self.layer.keras)

    def apply(self, net: Network, x: Value) -> Value:
        x = self.apply_linear(net, x)
        net.module += "_activation"
        return activate(net, x, self.get("activation"), self.layer.keras)

    def apply_linear(self, net: Network, x: Value) -> Value:
        """Apply what comes before the activation."""
        raise NotImplementedError


@keras_layer
class Activation(ActivatedRule):
    """An activation as a layer; a linear one is kept as `nn.Identity`, so that the
    layer can be seen.
    """

    options = {"activation"}

    def apply(self, net: Network, x: Value) -> Value:
        if activation_name(self["activation"]) == "linear":
            return net.apply(nn.Identity, x)
        return activate(net, x, self["activation"], self.layer.keras)


@keras_layer
class Identity(ModuleRule):
    """The values unchanged."""

    module = nn.Identity
