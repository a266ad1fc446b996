"""Keras' layers with several inputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Merge(nn.Module):
    """All inputs combined from first to last, broadcast against each other."""

    relevance = "linear"

    def combine(self, a: Tensor, b: Tensor) -> Tensor:
        """Combine two inputs."""
        raise NotImplementedError

    def forward(self, *inputs: Tensor) -> Tensor:
        combined = inputs[0]
        for x in inputs[1:]:
            combined = self.combine(combined, x)
        return combined


class Add(Merge):
    """Sum of all inputs."""

    def combine(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Average(Add):
    """Mean of all inputs."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return super().forward(*inputs) / len(inputs)


class Subtract(Merge):
    """The first input less the second."""

    def combine(self, a: Tensor, b: Tensor) -> Tensor:
        return a - b


class Multiply(Merge):
    """Product of all inputs."""

    relevance = "product"

    def combine(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b


class Maximum(Merge):
    """The largest of all inputs at each position."""

    relevance = "winner"

    def combine(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.maximum(a, b)


class Minimum(Merge):
    """The smallest of all inputs at each position."""

    relevance = "winner"

    def combine(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.minimum(a, b)


class Concatenate(nn.Module):
    """Inputs one after the other along ``dim``."""

    relevance = "rearrange"

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, dim=self.dim)

    def extra_repr(self) -> str:
        return str(self.dim)


class Dot(nn.Module):
    """Products of two inputs summed over one dimension of each, batch by batch.

    ``[B, T, n]`` and ``[B, n, S]`` make ``[B, T, S]``, two vectors per sample make
    ``[B, 1]``. With ``eps`` both inputs are first divided by their length along the
    dimension, but by no less than ``eps``.
    """

    relevance = "product"

    def __init__(self, first: int, second: int, eps: float | None = None) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.eps = eps

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if self.eps is not None:
            a = F.normalize(a, dim=self.first, eps=self.eps)
            b = F.normalize(b, dim=self.second, eps=self.eps)
        a = a.movedim(self.first, -1)  # [B, ..., n]
        b = b.movedim(self.second, 1)  # [B, n, ...]
        rest = a.shape[1:-1] + b.shape[2:]
        rows = a.reshape(len(a), -1, a.shape[-1])  # [B, rows, n]
        columns = b.reshape(*b.shape[:2], -1)  # [B, n, columns]
        product = torch.bmm(rows, columns)
        return product.reshape(len(a), *(rest or (1,)))  # of two vectors: [B, 1]

    def extra_repr(self) -> str:
        return f"{self.first}, {self.second}, eps={self.eps}"
