"""Functions as nodes of a graph: Keras 2's TFOpLambda and SlicingOpLambda, Keras 3's
operations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from ecgnb.port.layers.base import LAYERS, LayerRule
from ecgnb.port.layers.merge import alike
from ecgnb.port.modules.functions import constant_like, unit_norm
from ecgnb.port.network import Network, Value

#: Writes one function: the graph, the name of the node, then the function's own
#: arguments.
Writer = Callable[..., Value | list[Value]]

#: All known functions by their name in a graph, ``"op:<name>"``.
WRITERS: dict[str, Writer] = {}

#: TensorFlow's names of arguments, where Keras 3 has others.
ALIASES = {
    "y": "x2", "x": "x1", "b": "x2", "perm": "axes", "newshape": "shape", "paddings": "pad_width",
    "clip_value_min": "x_min", "clip_value_max": "x_max", "multiples": "repeats", "slice_spec": "key",
    "alpha": "negative_slope",
}  # fmt: skip

DTYPES = {
    "float32": torch.float32, "float64": torch.float32, "bool": torch.bool, "int32": torch.int32, "int64": torch.int64
}  # fmt: skip


class Operation(LayerRule):
    """A call of a function; its arguments come by place, by name, and in Keras 3 also
    from the configuration.
    """

    @property
    def arguments(self) -> frozenset[str]:  # type: ignore[override]
        """The names of all arguments, as TensorFlow and Keras 3 call them."""
        names = frozenset(self._names())
        return (
            names
            | {alias for alias, name in ALIASES.items() if name in names}
            | {"name"}
        )

    def problems(self) -> Iterator[str]:
        """Yield options of Keras 3's configuration that are not known."""
        for option, value in self._configured().items():
            if option not in self.arguments and value is not None:
                yield f"{option}={value!r} is an option unknown to the port"

    def build(
        self, net: Network, name: str, *inputs: Any, **kwargs: Any
    ) -> Value | list[Value]:
        """Write it."""
        known = self._names()
        given = {
            key: value
            for key, value in (self._configured() | kwargs).items()
            if value is not None
        }
        named = {
            key if key in known else ALIASES.get(key, key): value
            for key, value in given.items()
        }
        return WRITERS[self.layer.class_name](
            net, name, *inputs, **{key: named[key] for key in named if key in known}
        )

    def _names(self) -> list[str]:
        return list(inspect.signature(WRITERS[self.layer.class_name]).parameters)[2:]

    def _configured(self) -> dict[str, Any]:
        if self.layer.keras < 3:
            return {}
        own = {"name", "trainable"} | (set() if "dtype" in self._names() else {"dtype"})
        return {
            key: value for key, value in self.layer.config.items() if key not in own
        }


def operation(*names: str) -> Callable[[Writer], Writer]:
    """Decorator that enters a writer under the names that its function has in Keras 2
    and 3.
    """

    def enter(writer: Writer) -> Writer:
        for name in names:
            WRITERS[f"op:{name}"] = writer
            LAYERS.register(f"op:{name}")(Operation)
        return writer

    return enter


def axes_of(x: Value, axis: Any) -> tuple[int, ...]:
    """Return axes counted from the front.

    Raises:
        ValueError: the batch is among them, or no axis is named, which means all.
    """
    listed = axis if isinstance(axis, list | tuple) else [axis]
    if any(each is None or each % x.rank == 0 for each in listed):
        raise ValueError(f"axis={axis!r} mixes the samples of a batch")
    return tuple(each % x.rank for each in listed)


def in_one_layout(net: Network, values: list[Any]) -> list[Any]:
    """Bring tensors into one layout; numbers stay, lists of numbers become tensors."""
    tensors = [value for value in values if isinstance(value, Value)]
    if {value.rank for value in tensors} == {3} and not any(
        isinstance(value, list | dict) for value in values
    ):
        turned = iter(alike(net, tensors))
    else:
        turned = iter([net.keras(value) for value in tensors])
    values = [next(turned) if isinstance(value, Value) else value for value in values]
    like = next(value for value in values if isinstance(value, Value))
    return [
        net.function(constant_like, like, _numbers(v))
        if isinstance(v, list | dict)
        else v
        for v in values
    ]


def _numbers(value: Any) -> Any:
    return (
        value["config"]["value"] if isinstance(value, dict) else value
    )  # Keras 3 writes arrays as objects


def _unary(function: Callable[..., Any]) -> Writer:
    def write(net: Network, name: str, x: Value) -> Value:
        return net.function(function, x, layout=x.layout)

    return write


def _binary(function: Callable[..., Any], tensors_only: bool = False) -> Writer:
    def write(net: Network, name: str, x1: Any, x2: Any) -> Value:
        both = in_one_layout(net, [x1, x2])
        like = next(value for value in both if isinstance(value, Value))
        for place, value in enumerate(both):
            if not isinstance(value, Value) and (tensors_only or place == 0):
                both[place] = net.function(
                    constant_like, like, value, layout=like.layout
                )
        return net.function(function, *both, layout=like.layout)

    return write


def _module(kind: type[nn.Module], **options: Any) -> Writer:
    def write(net: Network, name: str, x: Value) -> Value:
        return net.apply(name, kind, x, **options)

    return write


def _reduction(function: Callable[..., Any], **options: Any) -> Writer:
    def write(
        net: Network, name: str, x: Value, axis: Any = None, keepdims: bool = False
    ) -> Value:
        x = net.keras(x)
        return net.function(
            function, x, dim=axes_of(x, axis), keepdim=keepdims, **options
        )

    return write


UNARY = {
    "neg": ("negative",), "abs": ("abs", "absolute"), "square": ("square",), "sqrt": ("sqrt",), "rsqrt": ("rsqrt",),
    "exp": ("exp",), "expm1": ("expm1",), "log": ("log",), "log1p": ("log1p",), "sign": ("sign",), "floor": ("floor",),
    "ceil": ("ceil",), "sin": ("sin",), "cos": ("cos",), "reciprocal": ("reciprocal",), "detach": ("stop_gradient",),
    "logical_not": ("logical_not",),
}  # fmt: skip
BINARY = {
    "add": ("add",), "sub": ("subtract",), "mul": ("multiply",), "pow": ("pow", "power"),
    "true_divide": ("divide", "truediv", "true_divide"), "eq": ("equal",), "ne": ("not_equal",), "gt": ("greater",),
    "ge": ("greater_equal",), "lt": ("less",), "le": ("less_equal",),
}  # fmt: skip
BINARY_OF_TENSORS = {"maximum": ("maximum",), "minimum": ("minimum",), "logical_and": ("logical_and",),
    "logical_or": ("logical_or",)}  # fmt: skip
MODULES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.ReLU: ("relu",), nn.ReLU6: ("relu6",), nn.Sigmoid: ("sigmoid",), nn.Tanh: ("tanh",), nn.SELU: ("selu",),
    nn.SiLU: ("silu", "swish"), nn.Softsign: ("softsign",), nn.Softplus: ("softplus",),
    nn.Hardsigmoid: ("hard_sigmoid",), nn.Identity: ("identity",),
}  # fmt: skip
REDUCTIONS = {
    "mean": ("mean", "reduce_mean"), "sum": ("sum", "reduce_sum"), "amax": ("max", "reduce_max", "amax"),
    "amin": ("min", "reduce_min", "amin"),
}  # fmt: skip

for _torch, _keras in UNARY.items():
    operation(*_keras)(_unary(getattr(torch, _torch)))
for _torch, _keras in BINARY.items():
    operation(*_keras)(_binary(getattr(torch, _torch)))
for _torch, _keras in BINARY_OF_TENSORS.items():
    operation(*_keras)(_binary(getattr(torch, _torch), tensors_only=True))
for _kind, _keras in MODULES.items():
    operation(*_keras)(_module(_kind))
for _torch, _keras in REDUCTIONS.items():
    operation(*_keras)(_reduction(getattr(torch, _torch)))
operation("std", "reduce_std")(_reduction(torch.std, correction=0))
operation("var", "reduce_variance")(_reduction(torch.var, correction=0))


@operation("softmax")
def _softmax(net: Network, name: str, x: Value, axis: int = -1) -> Value:
    return net.apply(name, nn.Softmax, net.keras(x), dim=axis)


@operation("log_softmax")
def _log_softmax(net: Network, name: str, x: Value, axis: int = -1) -> Value:
    return net.apply(name, nn.LogSoftmax, net.keras(x), dim=axis)


@operation("leaky_relu")
def _leaky_relu(
    net: Network, name: str, x: Value, negative_slope: float = 0.2
) -> Value:
    return net.apply(name, nn.LeakyReLU, x, negative_slope=negative_slope)


@operation("elu")
def _elu(net: Network, name: str, x: Value, alpha: float = 1.0) -> Value:
    return net.apply(name, nn.ELU, x, alpha=alpha)


@operation("gelu")
def _gelu(net: Network, name: str, x: Value, approximate: bool = False) -> Value:
    return net.apply(name, nn.GELU, x, approximate="tanh" if approximate else "none")


@operation("clip_by_value", "clip")
def _clip(net: Network, name: str, x: Value, x_min: float, x_max: float) -> Value:
    return net.function(torch.clamp, x, min=x_min, max=x_max, layout=x.layout)


@operation("cast")
def _cast(net: Network, name: str, x: Value, dtype: str) -> Value:
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} (only {', '.join(DTYPES)})")
    return net.method("to", x, DTYPES[dtype], layout=x.layout)


@operation("where")
def _where(net: Network, name: str, condition: Value, x1: Any, x2: Any) -> Value:
    values = in_one_layout(net, [condition, x1, x2])
    return net.function(torch.where, *values, layout=values[0].layout)


@operation("l2_normalize")
def _l2_normalize(
    net: Network, name: str, x: Value, axis: Any = None, epsilon: float = 1e-12
) -> Value:
    x = net.keras(x)
    return net.function(unit_norm, x, axes_of(x, axis), epsilon**0.5)


@operation("normalize")
def _normalize(
    net: Network,
    name: str,
    x: Value,
    axis: Any = -1,
    order: int = 2,
    epsilon: float = 1e-7,
) -> Value:
    if order != 2:
        raise ValueError(f"order={order!r} (only 2)")
    x = net.keras(x)
    return net.function(unit_norm, x, axes_of(x, axis), epsilon)
