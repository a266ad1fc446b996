"""What Keras has and PyTorch has not, as small modules; an exported model carries the source of those it uses.

Each tells by ``relevance`` how layer-wise relevance passes through it (`ecgnb.explain`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SamePad1d(nn.Module):
    """Pad ``[B, C, T]`` as Keras' ``padding="same"`` does: ceil(T / stride) outputs, the odd sample at the end.

    Zero is the value for a convolution, minus infinity for a maximum.
    """

    relevance = "rearrange"

    def __init__(self, kernel_size: int, stride: int = 1, dilation: int = 1, value: float = 0.0) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.dilation, self.value = kernel_size, stride, dilation, value

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        steps = -(-x.shape[-1] // self.stride)
        missing = (steps - 1) * self.stride + (self.kernel_size - 1) * self.dilation + 1 - x.shape[-1]
        left = max(missing, 0) // 2
        return F.pad(x, (left, max(missing, 0) - left), value=self.value)

    def extra_repr(self) -> str:  # noqa: D102
        return f"{self.kernel_size}, stride={self.stride}, dilation={self.dilation}, value={self.value}"


class GlobalAveragePool1d(nn.Module):
    """Mean over time, ``[B, C, T]`` -> ``[B, C]``, or ``[B, C, 1]`` with ``keepdim``."""

    relevance = "linear"

    def __init__(self, keepdim: bool = False) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.mean(dim=-1, keepdim=self.keepdim)


class GlobalMaxPool1d(nn.Module):
    """Maximum over time, ``[B, C, T]`` -> ``[B, C]``, or ``[B, C, 1]`` with ``keepdim``."""

    relevance = "winner"

    def __init__(self, keepdim: bool = False) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.amax(dim=-1, keepdim=self.keepdim)


class Add(nn.Module):
    """Sum of all inputs, broadcast against each other."""

    relevance = "linear"

    def forward(self, *inputs: Tensor) -> Tensor:  # noqa: D102
        total = inputs[0]
        for each in inputs[1:]:
            total = total + each
        return total


class Concatenate(nn.Module):
    """Inputs one after the other along ``dim``."""

    relevance = "rearrange"

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *inputs: Tensor) -> Tensor:  # noqa: D102
        return torch.cat(inputs, dim=self.dim)
