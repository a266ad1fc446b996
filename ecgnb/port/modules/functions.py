"""Functions that Keras has and PyTorch has not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def unfold_steps(x: Tensor, steps: Tensor) -> Tensor:
    """Undo the flattening of ``[B, T, ...]`` to ``[B * T, ...]``, with the sizes of the
    tensor ``steps``.
    """
    return x.unflatten(0, steps.shape[:2])


def constant_like(x: Tensor, values: Any) -> Tensor:
    """Return a constant on the device of ``x``, of its dtype if that is floating."""
    dtype = x.dtype if x.is_floating_point() else None
    return torch.as_tensor(values, dtype=dtype, device=x.device)


def unit_norm(x: Tensor, dim: tuple[int, ...], eps: float) -> Tensor:
    """Divide by the Euclidean norm along ``dim``, which counts as ``eps`` where it is
    smaller.
    """
    return x / torch.linalg.vector_norm(x, dim=dim, keepdim=True).clamp_min(eps)
