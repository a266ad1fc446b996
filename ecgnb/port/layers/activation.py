"""Activations: as a layer of their own, and inside other layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from ecgnb.port.layers.base import LAYERS, LayerRule
from ecgnb.port.network import Network, Value

#: Keras' names and the module that says the same in every version of Keras.
ACTIVATIONS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "relu": (nn.ReLU, {}),
    "elu": (nn.ELU, {}),
    "selu": (nn.SELU, {}),
    "tanh": (nn.Tanh, {}),
    "sigmoid": (nn.Sigmoid, {}),
    "softplus": (nn.Softplus, {}),
    "softsign": (nn.Softsign, {}),
    "swish": (nn.SiLU, {}),
    "silu": (nn.SiLU, {}),
}


def activation_name(value: Any) -> str:
    """Return the name of an activation, which Keras writes as text, ``null`` or a serialised object."""
    if value is None:
        return "linear"
    return str(value.get("config") if isinstance(value, dict) else value)


def activation_problem(value: Any) -> Iterator[str]:
    """Yield why an activation cannot be ported."""
    name = activation_name(value)
    if name not in (*ACTIVATIONS, "softmax", "linear"):
        yield f"activation={name!r} is unknown to the port"


def activate(net: Network, path: str, value: Value, activation: Any) -> Value:
    """Apply an activation by its Keras name; ``linear`` adds nothing."""
    name = activation_name(activation)
    if name == "linear":
        return value
    if name == "softmax":
        return net.apply(path, nn.Softmax, value, dim=1 if value.layout == "nct" else -1)
    kind, options = ACTIVATIONS[name]
    return net.apply(path, kind, value, **options)


@LAYERS.register("Activation")
class Activation(LayerRule):
    """An activation as a layer."""

    options = frozenset({"activation"})

    def problems(self) -> Iterator[str]:
        """Yield unknown options and an unknown activation."""
        yield from super().problems()
        yield from activation_problem(self["activation"])

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write the activation; a linear one is kept as `nn.Identity`, so that the layer can be seen."""
        if activation_name(self["activation"]) == "linear":
            return net.apply(name, nn.Identity, inputs[0])
        return activate(net, name, inputs[0], self["activation"])


@LAYERS.register("Softmax")
class Softmax(LayerRule):
    """Softmax as a layer."""

    options = frozenset({"axis"})

    def build(self, net: Network, name: str, *inputs: Any, **kwargs: Any) -> Value:
        """Write it along the axis that Keras names."""
        return net.apply(name, nn.Softmax, net.keras(inputs[0]), dim=self.get("axis", -1))
