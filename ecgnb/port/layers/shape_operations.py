"""Functions that change shapes; all work on Keras' layout."""

from __future__ import annotations

import operator
from itertools import pairwise
from typing import Any

import torch

from ecgnb.port.layers.operations import axes_of, in_one_layout, operation
from ecgnb.port.network import Network, Value


@operation("expand_dims")
def _expand_dims(net: Network, name: str, x: Value, axis: Any) -> Value:
    return net.function(
        torch.unsqueeze,
        net.keras(x),
        axis[0] if isinstance(axis, list | tuple) else axis,
    )


@operation("squeeze")
def _squeeze(net: Network, name: str, x: Value, axis: Any = None) -> Value:
    return net.function(torch.squeeze, net.keras(x), axes_of(x, axis))


@operation("concat", "concatenate")
def _concatenate(net: Network, name: str, values: list[Any], axis: int = 0) -> Value:
    return net.function(
        torch.cat, in_one_layout(net, [net.keras(value) for value in values]), dim=axis
    )


@operation("stack")
def _stack(net: Network, name: str, values: list[Any], axis: int = 0) -> Value:
    return net.function(torch.stack, [net.keras(value) for value in values], dim=axis)


@operation("unstack")
def _unstack(
    net: Network, name: str, x: Value, axis: int = 0, num: int | None = None
) -> list[Value]:
    return _each(net, net.function(torch.unbind, net.keras(x), dim=axis))


@operation("split")
def _split(
    net: Network,
    name: str,
    x: Value,
    indices_or_sections: Any = None,
    axis: int = 0,
    num_or_size_splits: Any = None,
) -> list[Value]:
    x = net.keras(x)
    length = x.example.shape[axis]
    said = num_or_size_splits if indices_or_sections is None else indices_or_sections
    if isinstance(said, int):
        sizes = [length // said] * said
    elif indices_or_sections is None:
        sizes = list(said)  # TensorFlow lists sizes
    else:
        sizes = [
            end - start for start, end in pairwise([0, *said, length])
        ]  # Keras 3 lists places
    return _each(net, net.function(torch.split, x, sizes, dim=axis))


def _each(net: Network, parts: Value) -> list[Value]:
    return [
        net.function(operator.getitem, parts, place)
        for place in range(len(parts.example))
    ]


@operation("transpose")
def _transpose(net: Network, name: str, x: Value, axes: Any = None) -> Value:
    axes = list(axes) if axes is not None else list(range(x.rank))[::-1]
    if axes[0] != 0:
        raise ValueError(f"axes={axes!r} moves the batch")
    return net.function(torch.permute, net.keras(x), axes)


@operation("swapaxes")
def _swapaxes(net: Network, name: str, x: Value, axis1: int, axis2: int) -> Value:
    return net.function(torch.transpose, net.keras(x), axis1, axis2)


@operation("reshape")
def _reshape(net: Network, name: str, x: Value, shape: Any) -> Value:
    return net.function(
        torch.reshape, net.keras(x), [-1 if size is None else size for size in shape]
    )


@operation("tile")
def _tile(net: Network, name: str, x: Value, repeats: Any) -> Value:
    return net.function(torch.tile, net.keras(x), list(repeats))


@operation("repeat")
def _repeat(
    net: Network, name: str, x: Value, repeats: int, axis: int | None = None
) -> Value:
    return net.function(
        torch.repeat_interleave, net.keras(x), repeats, dim=axes_of(x, axis)[0]
    )


@operation("flip", "reverse")
def _flip(net: Network, name: str, x: Value, axis: Any) -> Value:
    return net.function(torch.flip, net.keras(x), list(axes_of(x, axis)))


@operation("pad")
def _pad(
    net: Network,
    name: str,
    x: Value,
    pad_width: Any,
    mode: str = "constant",
    constant_values: float = 0,
) -> Value:
    if mode.lower() != "constant":
        raise ValueError(f"mode={mode!r} (only 'constant')")
    widths = [width for pair in reversed(pad_width) for width in pair]
    return net.function(torch.constant_pad_nd, net.keras(x), widths, constant_values)


@operation("matmul")
def _matmul(
    net: Network,
    name: str,
    x1: Value,
    x2: Value,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> Value:
    both = [net.keras(x1), net.keras(x2)]
    for place, turned in enumerate((transpose_a, transpose_b)):
        if turned:
            both[place] = net.function(torch.transpose, both[place], -2, -1)
    return net.function(torch.matmul, *both)


@operation("getitem", "get_item")
def _getitem(net: Network, name: str, x: Value, key: Any) -> Value:
    places = [
        _place(each) for each in (key if isinstance(key, list | tuple) else [key])
    ]
    return net.function(operator.getitem, net.keras(x), tuple(places))


def _place(value: Any) -> Any:
    """Return an index from what Keras wrote: a number, ``None``, or an object for a
    slice or an ellipsis.
    """
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "__ellipsis__":
        return ...
    found = value.get("config", value)
    if (found["step"] or 1) < 0:
        raise ValueError(
            f"a slice with the step {found['step']}, which PyTorch has not"
        )
    return slice(found["start"], found["stop"], found["step"])
