"""Padding, pooling, separable convolution, shapes, noise and functions of Keras."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def same_padding(length: int, span: int, stride: int) -> tuple[int, int]:
    """Return the samples that Keras' ``padding="same"`` adds at either end for
    ceil(length / stride) outputs, which see ``span`` samples each; the odd one comes at
    the end.
    """
    outputs = -(-length // stride)  # rounded up
    needed = (outputs - 1) * stride + span
    missing = max(needed - length, 0)
    left = missing // 2
    return left, missing - left


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
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return x / norm.clamp_min(eps)


class SamePad1d(nn.Module):
    """Pad ``[B, C, T]`` as Keras' ``padding="same"`` does: zero is the value for a
    convolution, minus infinity for a maximum.
    """

    relevance = "rearrange"

    def __init__(
        self, kernel_size: int, stride: int = 1, dilation: int = 1, value: float = 0.0
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.dilation = dilation
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        span = (self.kernel_size - 1) * self.dilation + 1
        sides = same_padding(x.shape[-1], span, self.stride)
        return F.pad(x, sides, value=self.value)

    def extra_repr(self) -> str:
        options = f"stride={self.stride}, dilation={self.dilation}, value={self.value}"
        return f"{self.kernel_size}, {options}"


class GlobalPool1d(nn.Module):
    """One number per channel, ``[B, C, T]`` -> ``[B, C]``, or ``[B, C, 1]`` with
    ``keepdim``.
    """

    relevance = "linear"

    def __init__(self, keepdim: bool = False) -> None:
        super().__init__()
        self.keepdim = keepdim

    def extra_repr(self) -> str:
        return f"keepdim={self.keepdim}"


class GlobalAveragePool1d(GlobalPool1d):
    """Mean over time."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=-1, keepdim=self.keepdim)


class GlobalMaxPool1d(GlobalPool1d):
    """Maximum over time."""

    relevance = "winner"

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=-1, keepdim=self.keepdim)


class SameAvgPool1d(nn.Module):
    """Mean of windows of ``[B, C, T]`` with Keras' ``padding="same"``, which does not
    count: ``[B, C, ceil(T / stride)]``.
    """

    relevance = "linear"

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        sides = same_padding(x.shape[-1], self.kernel_size, self.stride)
        window = self.kernel_size, self.stride
        counted = F.pad(torch.ones_like(x[:1, :1]), sides)  # 1 for samples, 0 for pads
        share = F.avg_pool1d(counted, *window)  # of each window that is not padding
        means = F.avg_pool1d(F.pad(x, sides), *window)
        return means / share

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}"


class Crop1d(nn.Module):
    """Drop ``left`` and ``right`` samples of ``[B, C, T]``."""

    relevance = "rearrange"

    def __init__(self, left: int, right: int) -> None:
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, x: Tensor) -> Tensor:
        end = x.shape[-1] - self.right  # -0 would drop everything
        return x[..., self.left : end]

    def extra_repr(self) -> str:
        return f"{self.left}, {self.right}"


class SeparableConv1d(nn.Module):
    """A convolution of each channel by itself, then one of width 1 over all: ``[B, C,
    T]`` -> ``[B, out, T']``; without padding.
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
        return self.pointwise(self.depthwise(x))


class Reshape(nn.Module):
    """Another shape for each sample, ``[B, *shape]``; one size may be -1."""

    relevance = "rearrange"

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.shape))


class Permute(nn.Module):
    """Dimensions in another order; ``dims`` counts from 1, the batch stays first."""

    relevance = "rearrange"

    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, *self.dims)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.dims))


class RepeatVector(nn.Module):
    """``[B, F]`` -> ``[B, n, F]``, the same row n times."""

    relevance = "rearrange"

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1).repeat(1, self.n, 1)

    def extra_repr(self) -> str:
        return str(self.n)


class GaussianNoise(nn.Module):
    """Adds noise in training; nothing at inference."""

    relevance = "elementwise"

    def __init__(self, stddev: float) -> None:
        super().__init__()
        self.stddev = stddev

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x + self.stddev * torch.randn_like(x)

    def extra_repr(self) -> str:
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
        if not self.training:
            return x
        deviation = (self.rate / (1 - self.rate)) ** 0.5
        return x * (1 + deviation * torch.randn_like(x))

    def extra_repr(self) -> str:
        return str(self.rate)
