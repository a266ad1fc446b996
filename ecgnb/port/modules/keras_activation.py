"""Activations that Keras has and PyTorch has not."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class HardSigmoid(nn.Module):
    """clip(0.2 x + 0.5, 0, 1), the hard sigmoid of Keras 1 and 2; that of Keras 3 is
    `nn.Hardsigmoid`.
    """

    relevance = "elementwise"

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(0.2 * x + 0.5, 0.0, 1.0)


class Exponential(nn.Module):
    """exp(x)."""

    relevance = "elementwise"

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(x)


class SparsePlus(nn.Module):
    """0 below -1, x above 1, and the parabola (x + 1)^2 / 4 between."""

    relevance = "elementwise"

    def forward(self, x: Tensor) -> Tensor:
        parabola = 0.25 * (x + 1) ** 2
        above = torch.where(x < 1, parabola, x)
        zero = torch.zeros_like(x)
        return torch.where(x <= -1, zero, above)


class SparseSigmoid(nn.Module):
    """clip((x + 1) / 2, 0, 1)."""

    relevance = "elementwise"

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(0.5 * (x + 1), 0.0, 1.0)


class Squareplus(nn.Module):
    """(x + sqrt(x^2 + 4)) / 2."""

    relevance = "elementwise"

    def forward(self, x: Tensor) -> Tensor:
        root = torch.sqrt(x**2 + 4)
        return (x + root) / 2


class ClippedReLU(nn.Module):
    """ReLU with all of Keras' options: x above ``threshold``, at most ``max_value``, a
    slope below the threshold.
    """

    relevance = "elementwise"

    def __init__(
        self,
        max_value: float | None,
        negative_slope: float,
        threshold: float,
    ) -> None:
        super().__init__()
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        above = torch.where(x > self.threshold, x, torch.zeros_like(x))
        above = torch.clamp(above, min=0.0, max=self.max_value)
        below = torch.relu(self.threshold - x)  # by how much
        return above - self.negative_slope * below

    def extra_repr(self) -> str:
        slope = f"negative_slope={self.negative_slope}"
        return f"max_value={self.max_value}, {slope}, threshold={self.threshold}"


class ParametricReLU(nn.Module):
    """ReLU of ``[B, *shape]`` with a slope for each position of ``shape``, where a
    length of 1 is broadcast; `nn.PReLU` has one per channel only.
    """

    relevance = "elementwise"

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) - self.weight * torch.relu(-x)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.weight.shape))


class SoftmaxOver(nn.Module):
    """Softmax over several dimensions at once."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        log_sum = torch.logsumexp(x, dim=self.dims, keepdim=True)
        return torch.exp(x - log_sum)

    def extra_repr(self) -> str:
        return f"dims={self.dims}"
