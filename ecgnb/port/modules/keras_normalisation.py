"""Keras' normalisations that PyTorch has not, as modules; an exported model carries the
source of those it uses.
"""

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
        self.dims, self.eps = dims, eps

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return F.normalize(x, dim=self.dims, eps=self.eps)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return f"{self.dims}, eps={self.eps}"


class Rescaling(nn.Module):
    """x * scale + offset, each one number or one for each place of the last
    dimension.
    """

    relevance = "linear"
    scale: Tensor
    offset: Tensor

    def __init__(
        self, scale: float | tuple[float, ...], offset: float | tuple[float, ...] = 0.0
    ) -> None:
        super().__init__()
        self.register_buffer(
            "scale", torch.tensor(scale, dtype=torch.float32), persistent=False
        )
        self.register_buffer(
            "offset", torch.tensor(offset, dtype=torch.float32), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return x * self.scale + self.offset

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
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
        self.shape, self.invert = shape, invert
        self.register_buffer("mean", torch.zeros(shape).flatten())
        self.register_buffer("variance", torch.ones(shape).flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape ``[B, ...]``."""
        mean = self.mean.reshape(self.shape)
        deviation = self.variance.sqrt().clamp(min=1e-7).reshape(self.shape)
        return mean + x * deviation if self.invert else (x - mean) / deviation

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return f"{', '.join(map(str, self.shape))}, invert={self.invert}"
