"""Functions that change shapes; all work on Keras' layout."""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import torch

from ecgnb.port.layers.base import as_list
from ecgnb.port.layers.operations import axes_of, operation
from ecgnb.port.network import Network, Value


def _items(
    net: Network, function: Callable[..., Any], *args: Any, axis: int
) -> list[Value]:
    """Write a function that returns several tensors, and each of these."""
    tensors = net.function(function, *args, dim=axis)
    count = len(tensors.example)
    return [net.function(operator.getitem, tensors, index) for index in range(count)]


@operation("expand_dims")
def _expand_dims(net: Network, x: Value, axis: Any) -> Value:
    return net.function(torch.unsqueeze, x, as_list(axis)[0])


@operation("squeeze")
def _squeeze(net: Network, x: Value, axis: Any = None) -> Value:
    return net.function(torch.squeeze, x, axes_of(x, axis))


@operation("concat", "concatenate")
def _concatenate(net: Network, values: list[Any], axis: int = 0) -> Value:
    return net.function(torch.cat, values, dim=axis)


@operation("stack")
def _stack(net: Network, values: list[Any], axis: int = 0) -> Value:
    return net.function(torch.stack, values, dim=axis)


@operation("unstack")
def _unstack(
    net: Network, x: Value, axis: int = 0, num: int | None = None
) -> list[Value]:
    return _items(net, torch.unbind, x, axis=axis)


@operation("split")
def _split(
    net: Network,
    x: Value,
    indices_or_sections: Any = None,
    axis: int = 0,
    num_or_size_splits: Any = None,
) -> list[Value]:
    length = net.keras(x).example.shape[axis]
    if isinstance(indices_or_sections, list | tuple):  # Keras 3 lists where to split
        edges = [0, *indices_or_sections, length]
        sizes = np.diff(edges).tolist()
    else:
        sizes = indices_or_sections or num_or_size_splits
        if isinstance(sizes, int):
            sizes = [length // sizes] * sizes  # equal parts
    return _items(net, torch.split, x, sizes, axis=axis)


@operation("transpose")
def _transpose(net: Network, x: Value, axes: Any = None) -> Value:
    axes = list(reversed(range(x.rank)) if axes is None else axes)  # as NumPy
    if axes[0] != 0:
        raise ValueError(f"axes={axes!r} moves the batch")
    return net.function(torch.permute, x, axes)


@operation("swapaxes")
def _swapaxes(net: Network, x: Value, axis1: int, axis2: int) -> Value:
    return net.function(torch.transpose, x, axis1, axis2)


@operation("reshape")
def _reshape(net: Network, x: Value, shape: Any) -> Value:
    sizes = [-1 if size is None else size for size in shape]
    return net.function(torch.reshape, x, sizes)


@operation("tile")
def _tile(net: Network, x: Value, repeats: Any) -> Value:
    return net.function(torch.tile, x, list(repeats))


@operation("repeat")
def _repeat(net: Network, x: Value, repeats: int, axis: int | None = None) -> Value:
    dim = axes_of(x, axis)[0]
    return net.function(torch.repeat_interleave, x, repeats, dim=dim)


@operation("flip", "reverse")
def _flip(net: Network, x: Value, axis: Any) -> Value:
    return net.function(torch.flip, x, list(axes_of(x, axis)))


@operation("pad")
def _pad(
    net: Network,
    x: Value,
    pad_width: Any,
    mode: str = "constant",
    constant_values: float = 0,
) -> Value:
    if mode.lower() != "constant":
        raise ValueError(f"mode={mode!r} (only 'constant')")
    widths = list(chain.from_iterable(reversed(pad_width)))  # PyTorch: last axis first
    return net.function(torch.constant_pad_nd, x, widths, constant_values)


@operation("matmul")
def _matmul(
    net: Network,
    x1: Value,
    x2: Value,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> Value:
    if transpose_a:
        x1 = net.function(torch.transpose, x1, -2, -1)  # of matrices, not of the batch
    if transpose_b:
        x2 = net.function(torch.transpose, x2, -2, -1)
    return net.function(torch.matmul, x1, x2)


@operation("getitem", "get_item")
def _getitem(net: Network, x: Value, key: Any) -> Value:
    index = tuple(map(_index, as_list(key)))
    return net.function(operator.getitem, x, index)


def _index(value: Any) -> Any:
    """Return an index from what Keras wrote: a number, ``None``, or an object for a
    slice or an ellipsis.
    """
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "__ellipsis__":
        return ...
    bounds = value.get("config", value)
    step = bounds["step"]
    if (step or 1) < 0:
        raise ValueError(f"a slice with the step {step}, which PyTorch cannot take")
    return slice(bounds["start"], bounds["stop"], step)
