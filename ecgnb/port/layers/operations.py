"""Functions as nodes of a graph: TFOpLambda and SlicingOpLambda of Keras 2, operations
of Keras 3.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from ecgnb.port.layers.activation import KERAS_3
from ecgnb.port.layers.base import LAYERS, LayerRule, Options, as_list
from ecgnb.port.layers.merge import common_layout
from ecgnb.port.modules.basic import constant_like, unit_norm
from ecgnb.port.network import KERAS, Network, Value

#: Writes one function: takes the graph, then the function's arguments.
Writer = Callable[..., Value | list[Value]]

#: A function of PyTorch.
Function = Callable[..., Any]

#: All known functions by their name in a graph, ``"op:<name>"``.
WRITERS: dict[str, Writer] = {}

#: TensorFlow's names of arguments, where Keras 3 has others.
ALIASES = {
    "y": "x2",
    "x": "x1",
    "b": "x2",
    "perm": "axes",
    "newshape": "shape",
    "paddings": "pad_width",
    "clip_value_min": "x_min",
    "clip_value_max": "x_max",
    "multiples": "repeats",
    "slice_spec": "key",
    "alpha": "negative_slope",  # of ``leaky_relu``
}

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float32,  # a port computes in float32
    "bool": torch.bool,
    "int32": torch.int32,
    "int64": torch.int64,
}


class Operation(LayerRule):
    """A call of a function; its arguments are positional, named, and in Keras 3 also
    in the configuration.
    """

    @property
    def arguments(self) -> frozenset[str]:  # type: ignore[override]
        """The names of all arguments, as TensorFlow and Keras 3 call them."""
        names = self._parameters()
        aliases = [alias for alias, name in ALIASES.items() if name in names]
        return frozenset([*names, *aliases, "name"])

    def problems(self) -> Iterator[str]:
        known = self.arguments | {"trainable", "dtype"}  # options of any layer
        for option, value in self._configured().items():
            if option not in known and value is not None:
                yield f"{option}={value!r} is an option unknown to the port"

    def build(self, net: Network, *inputs: Any, **kwargs: Any) -> Value | list[Value]:
        parameters = self._parameters()
        named = {}
        for key, value in (self._configured() | kwargs).items():
            if key not in parameters:
                key = ALIASES.get(key, key)
            if value is not None and key in parameters:
                named[key] = value
        return WRITERS[self.layer.class_name](net, *inputs, **named)

    def _parameters(self) -> list[str]:
        """Return the parameters of the writer that are the function's arguments."""
        return list(inspect.signature(WRITERS[self.layer.class_name]).parameters)[1:]

    def _configured(self) -> Options:
        if self.layer.keras >= 3:
            return self.layer.config
        return {}


def operation(*names: str) -> Callable[[Writer], Writer]:
    """Return a decorator that registers a writer under the names that its function has
    in Keras 2 and 3.
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
    axes = as_list(axis)
    if any(dim is None or dim % x.rank == 0 for dim in axes):  # 0 is the batch
        raise ValueError(f"axis={axis!r} mixes the samples of a batch")
    return tuple(dim % x.rank for dim in axes)


def in_one_layout(net: Network, values: list[Any]) -> list[Any]:
    """Bring tensors into one layout; numbers stay, lists of numbers become tensors."""
    tensors = [value for value in values if isinstance(value, Value)]
    constants = any(isinstance(value, list | dict) for value in values)
    layout = KERAS if constants else common_layout(tensors)
    converted = []
    for value in values:
        if isinstance(value, dict):  # Keras 3 writes arrays as objects
            value = value["config"]["value"]
        if isinstance(value, Value):
            value = net.in_layout(value, layout)
        elif isinstance(value, list):
            value = net.function(constant_like, tensors[0], value)
        converted.append(value)
    return converted


def _unary(function: Function, net: Network, x: Value) -> Value:
    return net.function(function, x, layout=x.layout)


def _binary(
    tensors_only: bool, function: Function, net: Network, x1: Any, x2: Any
) -> Value:
    first, second = in_one_layout(net, [x1, x2])
    if not isinstance(first, Value):  # PyTorch takes a number in second position only
        first = net.function(constant_like, second, first, layout=second.layout)
    if tensors_only and not isinstance(second, Value):
        second = net.function(constant_like, first, second, layout=first.layout)
    return net.function(function, first, second, layout=first.layout)


def _module(kind: type[nn.Module], net: Network, x: Value) -> Value:
    return net.apply(kind, x)


def _over_axis(kind: type[nn.Module], net: Network, x: Value, axis: int = -1) -> Value:
    return net.apply(kind, x, layout=KERAS, dim=axis)


def _reduction(
    options: Options,
    function: Function,
    net: Network,
    x: Value,
    axis: Any = None,
    keepdims: bool = False,
) -> Value:
    dims = axes_of(x, axis)
    return net.function(function, x, dim=dims, keepdim=keepdims, **options)


def _register_all(functions: Mapping[str, Any], write: Writer) -> None:
    """Register functions and modules of PyTorch by their names in Keras.

    Args:
        functions: by their names.
        write: a writer that takes one of them as its first argument.
    """
    for name, function in functions.items():
        operation(name)(partial(write, function))


#: Functions of one tensor that have one name in Keras and PyTorch.
UNARY = (
    "abs",
    "square",
    "sqrt",
    "rsqrt",
    "exp",
    "expm1",
    "log",
    "log1p",
    "sign",
    "floor",
    "ceil",
    "sin",
    "cos",
    "reciprocal",
    "logical_not",
)
UNARY_RENAMED = {
    "negative": torch.neg,
    "absolute": torch.abs,
    "stop_gradient": torch.detach,
}
BINARY = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "pow": torch.pow,
    "power": torch.pow,
    "divide": torch.true_divide,
    "truediv": torch.true_divide,
    "true_divide": torch.true_divide,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
}
BINARY_OF_TENSORS = ("maximum", "minimum", "logical_and", "logical_or")
#: Activations without options.
ACTIVATIONS = (
    "relu",
    "relu6",
    "sigmoid",
    "tanh",
    "selu",
    "silu",
    "swish",
    "softsign",
    "softplus",
    "hard_sigmoid",
)
REDUCTIONS = {
    "mean": torch.mean,
    "reduce_mean": torch.mean,
    "sum": torch.sum,
    "reduce_sum": torch.sum,
    "max": torch.amax,
    "amax": torch.amax,
    "reduce_max": torch.amax,
    "min": torch.amin,
    "amin": torch.amin,
    "reduce_min": torch.amin,
}
DEVIATIONS = {
    "std": torch.std,
    "reduce_std": torch.std,
    "var": torch.var,
    "reduce_variance": torch.var,
}

_register_all({name: getattr(torch, name) for name in UNARY}, _unary)
_register_all(UNARY_RENAMED, _unary)
_register_all(BINARY, partial(_binary, False))
_register_all(
    {name: getattr(torch, name) for name in BINARY_OF_TENSORS}, partial(_binary, True)
)
_register_all({name: KERAS_3[name] for name in ACTIVATIONS}, _module)
_register_all({"identity": nn.Identity}, _module)
_register_all({"softmax": nn.Softmax, "log_softmax": nn.LogSoftmax}, _over_axis)
_register_all(REDUCTIONS, partial(_reduction, {}))
# divided by n, not by n - 1
_register_all(DEVIATIONS, partial(_reduction, {"correction": 0}))


@operation("leaky_relu")
def _leaky_relu(net: Network, x: Value, negative_slope: float = 0.2) -> Value:
    return net.apply(nn.LeakyReLU, x, negative_slope=negative_slope)


@operation("elu")
def _elu(net: Network, x: Value, alpha: float = 1.0) -> Value:
    return net.apply(nn.ELU, x, alpha=alpha)


@operation("gelu")
def _gelu(net: Network, x: Value, approximate: bool = False) -> Value:
    return net.apply(nn.GELU, x, approximate="tanh" if approximate else "none")


@operation("clip_by_value", "clip")
def _clip(net: Network, x: Value, x_min: float, x_max: float) -> Value:
    return net.function(torch.clamp, x, min=x_min, max=x_max, layout=x.layout)


@operation("cast")
def _cast(net: Network, x: Value, dtype: str) -> Value:
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} (only {', '.join(DTYPES)})")
    return net.method("to", x, DTYPES[dtype], layout=x.layout)


@operation("where")
def _where(net: Network, condition: Value, x1: Any, x2: Any) -> Value:
    values = in_one_layout(net, [condition, x1, x2])
    return net.function(torch.where, *values, layout=values[0].layout)


@operation("l2_normalize")
def _l2_normalize(
    net: Network, x: Value, axis: Any = None, epsilon: float = 1e-12
) -> Value:
    # TensorFlow's epsilon is of the squared norm
    return net.function(unit_norm, x, axes_of(x, axis), epsilon**0.5)


@operation("normalize")
def _normalize(
    net: Network,
    x: Value,
    axis: Any = -1,
    order: int = 2,
    epsilon: float = 1e-7,
) -> Value:
    if order != 2:
        raise ValueError(f"order={order!r} (only 2)")
    return net.function(unit_norm, x, axes_of(x, axis), epsilon)
