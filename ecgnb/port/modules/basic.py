"""What Keras has and PyTorch has not, as small modules; an exported model carries the
source of those it uses.

Each tells by ``relevance`` how layer-wise relevance passes through it
(`ecgnb.explain.kinds`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SamePad1d(nn.Module):
    """Pad ``[B, C, T]`` as Keras' ``padding="same"`` does: ceil(T / stride) outputs,
    the odd sample at the end.

    Zero is the value for a convolution, minus infinity for a maximum.
    """

    relevance = "rearrange"

    def __init__(
        self, kernel_size: int, stride: int = 1, dilation: int = 1, value: float = 0.0
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.dilation, self.value = (
            kernel_size,
            stride,
            dilation,
            value,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, C, T + missing]``."""
        steps = -(-x.shape[-1] // self.stride)
        missing = (
            (steps - 1) * self.stride
            + (self.kernel_size - 1) * self.dilation
            + 1
            - x.shape[-1]
        )
        left = max(missing, 0) // 2
        return F.pad(x, (left, max(missing, 0) - left), value=self.value)

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return f"{self.kernel_size}, stride={self.stride}, dilation={self.dilation}, value={self.value}"


class GlobalAveragePool1d(nn.Module):
    """Mean over time, ``[B, C, T]`` -> ``[B, C]``, or ``[B, C, 1]`` with
    ``keepdim``.
    """

    relevance = "linear"

    def __init__(self, keepdim: bool = False) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        """Return one number a channel."""
        return x.mean(dim=-1, keepdim=self.keepdim)

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return f"keepdim={self.keepdim}"


class GlobalMaxPool1d(nn.Module):
    """Maximum over time, ``[B, C, T]`` -> ``[B, C]``, or ``[B, C, 1]`` with
    ``keepdim``.
    """

    relevance = "winner"

    def __init__(self, keepdim: bool = False) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        """Return one number a channel."""
        return x.amax(dim=-1, keepdim=self.keepdim)

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return f"keepdim={self.keepdim}"


class SameAvgPool1d(nn.Module):
    """Mean of windows of ``[B, C, T]`` with Keras' ``padding="same"``; what was padded
    does not count.
    """

    relevance = "linear"

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, C, ceil(T / stride)]``."""
        missing = max(
            (-(-x.shape[-1] // self.stride) - 1) * self.stride
            + self.kernel_size
            - x.shape[-1],
            0,
        )
        sides = (missing // 2, missing - missing // 2)
        counted = F.pad(torch.ones_like(x[:1, :1]), sides)
        means = F.avg_pool1d(F.pad(x, sides), self.kernel_size, self.stride)
        return means / F.avg_pool1d(counted, self.kernel_size, self.stride)

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return f"{self.kernel_size}, stride={self.stride}"


class Crop1d(nn.Module):
    """Drop ``left`` and ``right`` samples of ``[B, C, T]``."""

    relevance = "rearrange"

    def __init__(self, left: int, right: int) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, C, T - left - right]``."""
        return x[..., self.left : x.shape[-1] - self.right]

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return f"{self.left}, {self.right}"


class SeparableConv1d(nn.Module):
    """A convolution of each channel by itself, then one of width 1 over all: ``[B, C,
    T]`` -> ``[B, out, T']``.
    """

    relevance = "linear"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        multiplier: int = 1,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        between = in_channels * multiplier
        self.depthwise = nn.Conv1d(
            in_channels,
            between,
            kernel_size,
            stride,
            dilation=dilation,
            groups=in_channels,
            bias=False,
        )
        self.pointwise = nn.Conv1d(between, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return what both convolutions make of a padded signal."""
        return self.pointwise(self.depthwise(x))


class Reshape(nn.Module):
    """Another shape for each sample, the batch left alone; one size may be -1."""

    relevance = "rearrange"

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, *shape]``."""
        return x.reshape(x.shape[0], *self.shape)

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return ", ".join(map(str, self.shape))


class Permute(nn.Module):
    """Dimensions in another order; ``dims`` counts from 1, the batch stays first."""

    relevance = "rearrange"

    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        """Return the tensor with its dimension ``dims[k]`` at place k + 1."""
        return x.permute(0, *self.dims)

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return ", ".join(map(str, self.dims))


class RepeatVector(nn.Module):
    """``[B, F]`` -> ``[B, n, F]``, the same row n times."""

    relevance = "rearrange"

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        """Return the repeated rows."""
        return x.unsqueeze(1).repeat(1, self.n, 1)

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return str(self.n)


class GaussianNoise(nn.Module):
    """Adds noise in training; nothing at inference."""

    relevance = "elementwise"

    def __init__(self, stddev: float) -> None:
        super().__init__()
        self.stddev = stddev

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return x + self.stddev * torch.randn_like(x) if self.training else x

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return str(self.stddev)


class GaussianDropout(nn.Module):
    """Multiplies by noise of mean 1 and variance rate / (1 - rate) in training; nothing
    at inference.
    """

    relevance = "elementwise"

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        if not self.training:
            return x
        return x * (1 + (self.rate / (1 - self.rate)) ** 0.5 * torch.randn_like(x))

    def extra_repr(self) -> str:
        """Return the options for the module's repr."""
        return str(self.rate)
