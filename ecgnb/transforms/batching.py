"""Any array of signals as a flat batch of torch tensors, and back; and what a validity
mask says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ecgnb.core.errors import ConfigError

#: A signal goes out as what it came in: numpy array or torch tensor.
Array = TypeVar("Array", np.ndarray, Tensor)


@dataclass(frozen=True)
class FlatBatch:
    """A batch of signals with one leading dimension.

    Attributes:
        x: floating ``[B, n_leads, n_samples]``; half precision is widened to float32.
        mask: bool ``[B, n_samples]``, True where a sample is real; ``None`` when all
            are.
        shape: the shape of the signal that came in.
        dtype: its torch type.
        is_numpy: whether it was a numpy array.
    """

    x: Tensor
    mask: Tensor | None
    shape: tuple[int, ...]
    dtype: torch.dtype
    is_numpy: bool

    def restore(self, x: Tensor) -> Any:
        """Return ``x`` with the dimensions, type and kind of the signal that came in,
        padding set to 0.
        """
        x = zero_padding(x, self.mask).reshape(self.shape).to(self.dtype)
        return x.detach().numpy() if self.is_numpy else x


def flatten(signal: Array, mask: Any = None) -> FlatBatch:
    """View ``signal`` ``[..., n_leads, n_samples]`` as a batch; nothing is copied
    unless its memory forbids a view.

    Args:
        signal: floating numpy array or torch tensor.
        mask: bool ``[..., n_samples]`` of the same leading dimensions, or ``None``.

    Raises:
        ConfigError: the signal has no lead and sample dimension, is not floating, or
            the mask does not fit.
    """
    x = signal if isinstance(signal, Tensor) else torch.from_numpy(_writable(signal))
    if x.ndim < 2 or not x.is_floating_point():
        raise ConfigError(
            f"Transforms take floating signals [..., n_leads, n_samples]; this is {tuple(x.shape)} of {x.dtype}. "
            "Convert to millivolts in float32 and give one row a lead."
        )
    shape, dtype = tuple(x.shape), x.dtype
    if dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    return FlatBatch(
        x.reshape(-1, *shape[-2:]),
        _flat_mask(mask, x),
        shape,
        dtype,
        not isinstance(signal, Tensor),
    )


def flat_keys(keys: Any, shape: tuple[int, ...], device: torch.device) -> Tensor | None:
    """Return record keys as int64 ``[B]``; ``shape`` is that of the signal they belong
    to.

    Raises:
        ConfigError: there is not one key a record.
    """
    if keys is None:
        return None
    flat = torch.as_tensor(keys, dtype=torch.int64, device=device).reshape(-1)
    records = int(np.prod(shape[:-2], dtype=np.int64))
    if len(flat) != records:
        raise ConfigError(
            f"There are {len(flat)} keys for {records} records; give one key a record."
        )
    return flat


def zero_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return ``x`` ``[B, n_leads, n_samples]`` with 0 where ``mask`` ``[B, n_samples]``
    is False.
    """
    return x if mask is None else x.masked_fill(~mask[:, None, :], 0.0)


def valid_bounds(mask: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return first valid sample and number of samples up to the last valid one: int64
    ``[B]`` or ``[1]`` each.

    Without a mask both are single numbers that hold for all records.
    """
    n_samples = x.shape[-1]
    if mask is None:
        return torch.zeros(1, dtype=torch.int64, device=x.device), torch.full(
            (1,), n_samples, device=x.device
        )
    some = mask.any(-1)
    first = mask.to(torch.uint8).argmax(-1)
    last = n_samples - mask.flip(-1).to(torch.uint8).argmax(-1)
    return first * some, (last - first) * some


def take_samples(x: Tensor, index: Tensor) -> Tensor:
    """Return ``x[b, :, index[b]]`` for ``index`` int64 ``[B, n]``, or ``[1, n]`` for
    all records alike.
    """
    if len(index) == 1:
        return x.index_select(-1, index[0])
    return x.gather(-1, index[:, None, :].expand(-1, x.shape[1], -1))


def _flat_mask(mask: Any, x: Tensor) -> Tensor | None:
    if mask is None:
        return None
    mask = torch.as_tensor(
        mask if isinstance(mask, Tensor) else _writable(mask),
        dtype=torch.bool,
        device=x.device,
    )
    if mask.shape != (*x.shape[:-2], x.shape[-1]):
        raise ConfigError(
            f"The mask has shape {tuple(mask.shape)}; a signal of shape {tuple(x.shape)} needs "
            f"{(*x.shape[:-2], x.shape[-1])}."
        )
    return mask.reshape(-1, mask.shape[-1])


def _writable(signal: Any) -> np.ndarray:
    """Return an array that torch can view: native byte order, forward strides,
    writable.
    """
    array = np.asarray(signal)
    if array.dtype.kind == "f" and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    # torch refuses backward strides and warns of read-only memory (a memory map),
    # although nothing is written here.
    backward = any(stride < 0 for stride in array.strides)
    return array if array.flags.writeable and not backward else array.copy()
