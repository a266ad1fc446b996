"""A long convolution over time as matrix products: the discrete Fourier transform of a short sequence.

A positional convolution of 128 taps over 156 tokens is dominated by its taps. Turned into 111 frequencies, where a
convolution is one small matrix a frequency, it takes a fifteenth of the time on a CPU. The transforms are matrix
products themselves, since sequences are short, and then need no length that a fast transform likes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class SpectralConv:
    """The convolution ``y[t] = sum_k w[k] x[t + k - K // 2]`` with zeros outside, for sequences of one length.

    Args:
        weight: ``[D, D / groups, K]`` as of `torch.nn.Conv1d`.
        groups: channels of different groups do not mix.
        n_steps: T, length of the sequences.
    """

    def __init__(self, weight: Tensor, groups: int, n_steps: int) -> None:
        width, kernel = weight.shape[1], weight.shape[2]
        before = kernel // 2
        period = n_steps + before  # so many zeros follow that the end does not reach around into the beginning
        frequencies = torch.arange(period // 2 + 1, dtype=torch.float64)
        steps = torch.arange(n_steps, dtype=torch.float64)
        cosine, sine = _waves(frequencies, steps, period)
        # Every frequency but 0 and half the rate stands for itself and its mirror image.
        mirrored = ((frequencies > 0) & (2 * frequencies < period)) + 1
        share = mirrored.double()[:, None] / period
        self.analysis = torch.cat([cosine, -sine]).to(weight.dtype)
        self.synthesis = torch.cat([share * cosine, -share * sine]).T.contiguous().to(weight.dtype)
        taps = torch.arange(kernel, dtype=torch.float64) - before
        cosine, sine = (wave.to(weight.dtype) for wave in _waves(frequencies, taps, period))
        flat = weight.flatten(0, 1).T
        response = torch.complex(cosine @ flat, sine @ flat)
        self.response = response.view(len(frequencies), groups, -1, width).transpose(2, 3).contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``[B, T, D]`` to the same shape."""
        n_frequencies, groups, width, _ = self.response.shape
        parts = (self.analysis @ x).view(len(x), 2, n_frequencies, groups, width)
        spectrum = torch.complex(parts[:, 0], parts[:, 1]).permute(1, 2, 0, 3)
        found = (spectrum @ self.response).permute(2, 0, 1, 3).flatten(2)
        return self.synthesis @ torch.cat([found.real, found.imag], dim=1)


def _waves(frequencies: Tensor, times: Tensor, period: int) -> tuple[Tensor, Tensor]:
    angle = torch.outer(frequencies, times) * (2 * math.pi / period)
    return angle.cos(), angle.sin()
