"""Keras' activations that PyTorch has not, as small modules; an exported model carries
the source of those it uses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class HardSigmoid(nn.Module):
    """clip(0.2 x + 0.5, 0, 1), the hard sigmoid of Keras 1 and 2; that of Keras 3 is
    `nn.Hardsigmoid`.
    """

    relevance = "elementwise"

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return torch.clamp(0.2 * x + 0.5, 0.0, 1.0)


class Exponential(nn.Module):
    """exp(x)."""

    relevance = "elementwise"

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return torch.exp(x)


class SparsePlus(nn.Module):
    """0 below -1, x above 1, and the parabola (x + 1)^2 / 4 between."""

    relevance = "elementwise"

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return torch.where(
            x <= -1, torch.zeros_like(x), torch.where(x < 1, 0.25 * (x + 1) ** 2, x)
        )


class SparseSigmoid(nn.Module):
    """clip((x + 1) / 2, 0, 1)."""

    relevance = "elementwise"

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return torch.clamp(0.5 * (x + 1), 0.0, 1.0)


class Squareplus(nn.Module):
    """(x + sqrt(x^2 + 4)) / 2."""

    relevance = "elementwise"

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return (x + torch.sqrt(x**2 + 4)) / 2


class ClippedReLU(nn.Module):
    """ReLU with all of Keras' options: x above ``threshold``, at most ``max_value``, a
    slope below the threshold.
    """

    relevance = "elementwise"

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
    ) -> None:
        super().__init__()
        self.max_value, self.negative_slope, self.threshold = (
            max_value,
            negative_slope,
            threshold,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        above = torch.clamp(
            torch.where(x > self.threshold, x, torch.zeros_like(x)),
            min=0.0,
            max=self.max_value,
        )
        return above - self.negative_slope * torch.relu(self.threshold - x)

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return f"max_value={self.max_value}, negative_slope={self.negative_slope}, threshold={self.threshold}"


class ParametricReLU(nn.Module):
    """ReLU with a slope of its own for each place of ``shape``; `nn.PReLU` knows one a
    channel only.
    """

    relevance = "elementwise"

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape ``[B, *shape]``; a length of 1 is
        broadcast.
        """
        return torch.relu(x) - self.weight * torch.relu(-x)

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return ", ".join(str(size) for size in self.weight.shape)


class SoftmaxOver(nn.Module):
    """Softmax over several dimensions at once."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape, which sums to 1 over ``dims``."""
        return torch.exp(x - torch.logsumexp(x, dim=self.dims, keepdim=True))

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return f"dims={self.dims}"
