"""Positional convolution of wav2vec 2.0, by matrix products on a CPU.

It gives the same numbers as the original trainer (fairseq-signals; Baevski et al.
2020).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError


class SpectralConv:
    """Convolution by FFT-like matrix products, for sequences of one length.

    ``y[t] = sum_k w[k] x[t + k - K // 2]`` with zeros outside.

    Args:
        weight: ``[D, D / groups, K]`` as of `torch.nn.Conv1d`.
        groups: channels of different groups do not mix.
        n_steps: T, length of the sequences.
    """

    def __init__(self, weight: Tensor, groups: int, n_steps: int) -> None:
        _, width, kernel = weight.shape  # channels in of one group, taps
        dtype = weight.dtype
        # taps before the current step
        before = kernel // 2
        # zero-pad so that the circular convolution does not wrap around
        period = n_steps + before
        frequencies = torch.arange(period // 2 + 1, dtype=torch.float64)
        steps = torch.arange(n_steps, dtype=torch.float64)
        cosine, sine = _waves(frequencies, steps, period)
        self.analysis = torch.cat([cosine, -sine]).to(dtype)  # [2 F, T]
        # A real signal has each frequency twice, except 0 and half the rate.
        is_twice = (frequencies > 0) & (2 * frequencies < period)
        share = (is_twice + 1).double()[:, None] / period
        synthesis = torch.cat([share * cosine, -share * sine])
        self.synthesis = synthesis.T.contiguous().to(dtype)  # [T, 2 F]
        taps = torch.arange(kernel, dtype=torch.float64) - before
        cosine, sine = _waves(frequencies, taps, period)
        flat = weight.flatten(0, 1).T  # [K, D * D / groups]
        real = cosine.to(dtype) @ flat
        imaginary = sine.to(dtype) @ flat
        response = torch.complex(real, imaginary)
        response = response.view(len(frequencies), groups, -1, width)
        self.response = response.transpose(2, 3).contiguous()  # [F, groups, in, out]

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``[B, T, D]`` to the same shape."""
        n_frequencies, groups, width, _ = self.response.shape
        parts = self.analysis @ x  # real and imaginary ones, [B, 2 F, D]
        parts = parts.view(len(x), 2, n_frequencies, groups, width)
        spectrum = torch.complex(parts[:, 0], parts[:, 1])
        product = spectrum.permute(1, 2, 0, 3) @ self.response  # [F, groups, B, out]
        product = product.permute(2, 0, 1, 3).flatten(2)
        return self.synthesis @ torch.cat([product.real, product.imag], dim=1)


def _waves(frequencies: Tensor, times: Tensor, period: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines, ``[n_frequencies, n_times]``."""
    angle = torch.outer(frequencies, times) * (2 * math.pi / period)
    return angle.cos(), angle.sin()


class PositionalConv(nn.Module):
    """Relative positions: ``gelu(conv(x))``, grouped, over time (Mohamed et al. 2019).

    The weight is a direction times a gain for each tap of the kernel (weight
    normalisation over the other two axes, Salimans and Kingma 2016). On a CPU without
    gradients `SpectralConv` computes it, which is faster.

    Args:
        dim: D, channels in and out.
        kernel: taps.
        groups: channels of different groups do not mix.
    """

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        if dim % groups:
            raise ConfigError(f"position_groups={groups} must divide dim={dim}.")
        self.groups = groups
        # v of the paper
        self.direction = nn.Parameter(torch.empty(dim, dim // groups, kernel))
        self.gain = nn.Parameter(torch.empty(1, 1, kernel))  # g
        self.bias = nn.Parameter(torch.zeros(dim))
        self.act = nn.GELU()
        self._cache: tuple[Any, Tensor, Tensor, SpectralConv] | None = None

    def weight(self) -> Tensor:
        """Return the kernel ``[D, D / groups, taps]``."""
        norm = self.direction.norm(dim=(0, 1), keepdim=True)  # [1, 1, taps]
        return self.direction * (self.gain / norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, T', D]`` to the same shape."""
        on_cpu = x.device.type == "cpu"
        if torch.is_grad_enabled() or not on_cpu or torch.compiler.is_compiling():
            return self.act(self.direct(x))
        with torch.autocast("cpu", enabled=False):  # complex numbers are float32
            precise = x.to(torch.promote_types(x.dtype, torch.float32))
            conv = self._spectral_conv(x.shape[1], precise.dtype)
            y = conv(precise).add_(self.bias)
            return self.act(y).to(x.dtype)

    def direct(self, x: Tensor) -> Tensor:
        """Convolve ``[B, T', D]`` by `torch.nn.functional.conv1d`."""
        y = F.conv1d(
            x.transpose(1, 2),
            self.weight(),
            self.bias,
            padding=self.direction.shape[-1] // 2,
            groups=self.groups,
        )
        # an even kernel gives one step too many, at the end
        return y[..., : x.shape[1]].transpose(1, 2)

    def _spectral_conv(self, n_steps: int, dtype: torch.dtype) -> SpectralConv:
        """Return the cached convolution, computed again when a weight has changed.

        The values are compared: a fused optimizer changes them without a new version.
        """
        direction, gain = self.direction, self.gain
        key = (n_steps, dtype, direction.dtype, direction.device)
        cache = self._cache  # read once: another thread may replace it
        if cache is not None:
            cached_key, cached_direction, cached_gain, conv = cache
            is_same = cached_key == key and torch.equal(cached_direction, direction)
            if is_same and torch.equal(cached_gain, gain):
                return conv
        conv = SpectralConv(self.weight().to(dtype), self.groups, n_steps)
        self._cache = (key, direction.clone(), gain.clone(), conv)
        return conv

    def __getstate__(self) -> dict[str, Any]:
        """Leave the cache out of copies and pickles."""
        return {**self.__dict__, "_cache": None}
