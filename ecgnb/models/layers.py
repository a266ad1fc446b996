"""Layers that several architectures share: convolution, residual block, head."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError

#: Normalisations of ``[B, C, T]``.
NORMS: tuple[str, ...] = ("batch", "group")
#: Poolings over time; ``"avgmax"`` concatenates average and maximum.
POOLS: tuple[str, ...] = ("avg", "max", "avgmax")


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that accepts a batch with one value per channel in training.

    A single value has no variance, so PyTorch refuses it; an epoch whose last batch has
    one record would stop there. The running statistics are used instead.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[B, C]`` or ``[B, C, T]``."""
        if self.training and x.numel() == x.shape[1]:  # one value per channel
            return F.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                eps=self.eps,
            )
        return super().forward(x)


def make_norm(norm: str, channels: int) -> nn.Module:
    """Return a normalisation of ``[B, channels, T]``: ``"batch"`` or ``"group"``.

    Group normalisation (up to 8 groups) treats each record alone: it suits small
    batches and has no running statistics to become stale.
    """
    if norm == "batch":
        return BatchNorm(channels)
    if norm == "group":
        # groups must divide the channels
        return nn.GroupNorm(math.gcd(8, channels), channels)
    raise ConfigError(
        f"There is no norm {norm!r}; choose {' or '.join(map(repr, NORMS))}."
    )


class ConvNorm(nn.Sequential):
    """Convolution without bias, normalisation, activation.

    With "same" padding, so that the length becomes ceil(T / stride).

    Args:
        c_in: channels in.
        c_out: channels out.
        kernel: odd kernel size in samples.
        stride: step in samples.
        norm: see :func:`make_norm`.
        activation: makes the activation, or ``None`` for none.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        *,
        stride: int = 1,
        norm: str = "batch",
        activation: Callable[[], nn.Module] | None = nn.ReLU,
    ) -> None:
        if kernel % 2 == 0:
            raise ConfigError(
                "The size of a kernel must be odd, to be centred on its sample; it is "
                f"{kernel}."
            )
        super().__init__()
        self.conv = nn.Conv1d(
            # the norm has a bias
            c_in,
            c_out,
            kernel,
            stride,
            padding=kernel // 2,
            bias=False,
        )
        nn.init.kaiming_normal_(self.conv.weight)  # He et al. 2015, for ReLU
        self.norm = make_norm(norm, c_out)
        if activation is not None:
            self.act = activation()

    def zero_gamma(self) -> ConvNorm:
        """Start with output 0 and return self.

        A residual block then starts as the identity (Goyal et al. 2017).
        """
        nn.init.zeros_(self.norm.weight)  # type: ignore[arg-type]
        return self


def make_shortcut(c_in: int, c_out: int, stride: int, norm: str = "batch") -> nn.Module:
    """Return the skip path: average pooling, then a 1x1 convolution, where needed.

    Pooling uses every sample, which a strided 1x1 convolution does not (He et al. 2019,
    ResNet-D).
    """
    path = nn.Sequential()
    if stride != 1:
        # as long as a convolution's output
        path.pool = nn.AvgPool1d(stride, ceil_mode=True)
    if c_in != c_out:
        path.project = ConvNorm(c_in, c_out, 1, norm=norm, activation=None)
    return path


class Residual(nn.Module):
    """``activation(branch(x) + shortcut(x))``."""

    def __init__(
        self, branch: nn.Module, shortcut: nn.Module, activation: nn.Module
    ) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.act = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, T]`` to ``[B, C', ceil(T / stride)]``."""
        return self.act(self.branch(x) + self.shortcut(x))


class PoolHead(nn.Module):
    """Pool features over time and classify, optionally with one hidden layer.

    Args:
        channels: C of the features.
        n_classes: number of outputs.
        pool: one of ``POOLS``.
        hidden: width of a hidden layer (normalised, ReLU) or ``None``.
        dropout: probability before the classifier; half of it before the hidden layer.
    """

    def __init__(
        self,
        channels: int,
        n_classes: int,
        *,
        pool: str = "avg",
        hidden: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ConfigError(
                f"There is no pool {pool!r}; choose {' or '.join(map(repr, POOLS))}."
            )
        if not 0 <= dropout < 1:
            raise ConfigError(
                f"dropout must be at least 0 and below 1; it is {dropout!r}."
            )
        self.pool = pool
        width = channels * 2 if pool == "avgmax" else channels
        self.neck = nn.Sequential()
        if hidden is not None:
            self.neck.extend(
                [
                    BatchNorm(width),
                    nn.Dropout(dropout / 2),
                    nn.Linear(width, hidden),
                    nn.ReLU(),
                    BatchNorm(hidden),
                ]
            )
            width = hidden
        self.neck.append(nn.Dropout(dropout))
        self.classifier = nn.Linear(width, n_classes)

    def embed(self, features: Tensor) -> Tensor:
        """Return the classifier's input ``[B, D]`` of features ``[B, C, T']``."""
        pooled = []
        if self.pool != "max":
            pooled.append(features.mean(-1))  # [B, C]
        if self.pool != "avg":
            pooled.append(features.amax(-1))
        return self.neck(torch.cat(pooled, dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``[B, n_classes]`` of features ``[B, C, T']``."""
        return self.classifier(self.embed(features))
