"""Normalisations that Keras has and PyTorch has not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UnitNormalization(nn.Module):
    """Vectors along ``dims`` brought to the length 1, or divided by ``eps`` where they
    are shorter than that.

    For relevance the length counts as a constant (Ali et al. 2022, "XAI for
    transformers", section 4.2).
    """

    relevance = "elementwise"

    def __init__(self, dims: tuple[int, ...], eps: float) -> None:
        super().__init__()
        self.dims = dims
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=self.dims, eps=self.eps)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        return f"{self.dims}, eps={self.eps}"


class Rescaling(nn.Module):
    """x * scale + offset; both are one number, or one for each position of the last
    dimension.
    """

    relevance = "linear"
    scale: Tensor
    offset: Tensor

    def __init__(
        self, scale: float | tuple[float, ...], offset: float | tuple[float, ...]
    ) -> None:
        super().__init__()
        for name, value in (("scale", scale), ("offset", offset)):
            constant = torch.tensor(value, dtype=torch.float32)
            self.register_buffer(name, constant, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.offset

    def extra_repr(self) -> str:
        return f"{self.scale.tolist()}, {self.offset.tolist()}"


class Normalization(nn.Module):
    """(x - mean) / sqrt(variance) with statistics of ``shape``, which is broadcast; or
    back, when inverted.
    """

    relevance = "linear"
    mean: Tensor
    variance: Tensor

    def __init__(self, *shape: int, invert: bool = False) -> None:
        super().__init__()
        self.shape = shape
        self.invert = invert
        # flat, as Keras 3 stores them
        self.register_buffer("mean", torch.zeros(shape).flatten())
        self.register_buffer("variance", torch.ones(shape).flatten())

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean.reshape(self.shape)
        deviation = self.variance.sqrt().clamp(min=1e-7)  # Keras' epsilon
        deviation = deviation.reshape(self.shape)
        if self.invert:
            return mean + x * deviation
        return (x - mean) / deviation

    def extra_repr(self) -> str:
        return f"{', '.join(map(str, self.shape))}, invert={self.invert}"
