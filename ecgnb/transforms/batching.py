"""View any array of signals as a flat batch of torch tensors, and convert it back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ecgnb.core.errors import ConfigError

#: The output has the type of the input: numpy array or torch tensor.
Array = TypeVar("Array", np.ndarray, Tensor)


@dataclass(frozen=True)
class FlatBatch:
    """A batch of signals with one leading dimension.

    Attributes:
        x: floating ``[B, n_leads, n_samples]``; half precision is widened to float32.
        mask: bool ``[B, n_samples]``, True where a sample is real; ``None`` when all
            are.
        shape: of the input.
        dtype: of the input, as torch type.
        is_numpy: whether the input was a numpy array.
    """

    x: Tensor
    mask: Tensor | None
    shape: tuple[int, ...]
    dtype: torch.dtype
    is_numpy: bool

    def restore(self, x: Tensor) -> Any:
        """Return ``x`` with shape, dtype and type of the input, padding set to 0."""
        x = zero_padding(x, self.mask)
        x = x.reshape(self.shape).to(self.dtype)
        if self.is_numpy:
            return x.detach().numpy()
        return x


def flatten(signal: Any, mask: Any = None) -> FlatBatch:
    """View ``signal`` ``[..., n_leads, n_samples]`` as a batch, without a copy where
    its memory layout allows it.

    Args:
        signal: floating numpy array or torch tensor.
        mask: bool ``[..., n_samples]`` with the same leading dimensions, or ``None``.

    Raises:
        ConfigError: the signal has no lead and sample dimension, is not floating, or
            the mask does not fit.
    """
    is_numpy = not isinstance(signal, Tensor)
    x = signal
    if is_numpy:
        x = torch.from_numpy(_writable(signal))
    if x.ndim < 2 or not x.is_floating_point():
        raise ConfigError(
            "Transforms require floating signals [..., n_leads, n_samples]; this is "
            f"{tuple(x.shape)} of {x.dtype}. Convert to millivolts in float32 with one "
            "row per lead."
        )
    shape, dtype = tuple(x.shape), x.dtype
    if dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    if mask is not None:
        mask = _flat_mask(mask, x)
    x = x.reshape(-1, *shape[-2:])
    return FlatBatch(x, mask, shape, dtype, is_numpy)


def flat_keys(keys: Any, shape: tuple[int, ...]) -> Tensor:
    """Return record keys as int64 ``[B]``, on their device.

    Raises:
        ConfigError: their number is not that of the records in a signal of ``shape``.
    """
    flat = torch.as_tensor(keys, dtype=torch.int64).reshape(-1)
    n_records = math.prod(shape[:-2])
    if len(flat) != n_records:
        raise ConfigError(
            f"There are {len(flat)} keys for {n_records} records; use one key per "
            "record."
        )
    return flat


def zero_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return ``x`` ``[B, n_leads, n_samples]``, 0 where ``mask`` ``[B, n_samples]`` is
    False.
    """
    if mask is None:
        return x
    return x.masked_fill(~mask[:, None, :], 0.0)


def valid_bounds(mask: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first valid sample and the number of samples from it to the last one.

    Returns:
        Two int64 tensors ``[B, 1]``, or ``[1, 1]`` when there is no mask.
    """
    n_samples = x.shape[-1]
    if mask is None:
        start = torch.zeros(1, 1, dtype=torch.int64, device=x.device)
        return start, torch.full_like(start, n_samples)
    not_empty = mask.any(-1, keepdim=True)
    numbers = mask.to(torch.uint8)
    first = numbers.argmax(-1, keepdim=True)  # the first of equal ones
    padding_after = numbers.flip(-1).argmax(-1, keepdim=True)
    count = n_samples - padding_after - first
    return first, count * not_empty


def take_samples(x: Tensor, index: Tensor) -> Tensor:
    """Return ``x[b, :, index[b]]`` for ``index`` int64 ``[B, n]``, or ``[1, n]`` to use
    one row for all records.
    """
    if len(index) == 1:
        return x.index_select(-1, index[0])
    index = index[:, None, :].expand(-1, x.shape[1], -1)
    return x.gather(-1, index)


def _flat_mask(mask: Any, x: Tensor) -> Tensor:
    if not isinstance(mask, Tensor):
        mask = _writable(mask)
    mask = torch.as_tensor(mask, dtype=torch.bool, device=x.device)
    expected = (*x.shape[:-2], x.shape[-1])
    if mask.shape != expected:
        raise ConfigError(
            f"The mask has shape {tuple(mask.shape)}; a signal of shape "
            f"{tuple(x.shape)} needs {expected}."
        )
    return mask.reshape(-1, mask.shape[-1])


def _writable(signal: Any) -> np.ndarray:
    """Return an array that torch can view: native bytes, positive strides, writable."""
    array = np.asarray(signal)
    if array.dtype.kind == "f" and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    # torch refuses negative strides and warns of read-only memory (a memory map),
    # although nothing is written here.
    if min(array.strides, default=0) < 0 or not array.flags.writeable:
        array = array.copy()
    return array
