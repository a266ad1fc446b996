"""Keras' layers with several inputs as modules; an exported model carries the source of
those it uses.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Add(nn.Module):
    """Sum of all inputs, broadcast against each other."""

    relevance = "linear"

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the sum."""
        total = inputs[0]
        for each in inputs[1:]:
            total = total + each
        return total


class Average(nn.Module):
    """Mean of all inputs, broadcast against each other."""

    relevance = "linear"

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the mean."""
        total = inputs[0]
        for each in inputs[1:]:
            total = total + each
        return total / len(inputs)


class Subtract(nn.Module):
    """The first input less the second."""

    relevance = "linear"

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the difference."""
        return first - second


class Multiply(nn.Module):
    """Product of all inputs, broadcast against each other."""

    relevance = "product"

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the product."""
        product = inputs[0]
        for each in inputs[1:]:
            product = product * each
        return product


class Maximum(nn.Module):
    """The largest of all inputs at each place."""

    relevance = "winner"

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the maximum."""
        best = inputs[0]
        for each in inputs[1:]:
            best = torch.maximum(best, each)
        return best


class Minimum(nn.Module):
    """The smallest of all inputs at each place."""

    relevance = "winner"

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the minimum."""
        best = inputs[0]
        for each in inputs[1:]:
            best = torch.minimum(best, each)
        return best


class Concatenate(nn.Module):
    """Inputs one after the other along ``dim``."""

    relevance = "rearrange"

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the inputs in a row."""
        return torch.cat(inputs, dim=self.dim)

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return str(self.dim)


class Dot(nn.Module):
    """Products of two inputs summed over one dimension of each, batch by batch.

    ``[B, T, n]`` and ``[B, n, S]`` make ``[B, T, S]``, two vectors a sample make ``[B,
    1]``. With ``eps`` both inputs are first divided by their length along the
    dimension, but by no less than ``eps``.
    """

    relevance = "product"

    def __init__(self, first: int, second: int, eps: float | None = None) -> None:
        super().__init__()
        self.first, self.second, self.eps = first, second, eps

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the sums."""
        if self.eps is not None:
            a, b = (
                F.normalize(a, dim=self.first, eps=self.eps),
                F.normalize(b, dim=self.second, eps=self.eps),
            )
        a, b = a.movedim(self.first, -1), b.movedim(self.second, 1)
        rest = (*a.shape[1:-1], *b.shape[2:])
        product = torch.bmm(
            a.reshape(a.shape[0], -1, a.shape[-1]),
            b.reshape(b.shape[0], b.shape[1], -1),
        )
        return product.reshape(a.shape[0], *(rest or (1,)))

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return f"{self.first}, {self.second}, eps={self.eps}"
