"""The parts of ECG-FM's network: convolution stem, positional convolution, transformer
layer, codebook, head.

They compute, number by number, what the original trainer does (fairseq-signals; wav2vec
2.0, Baevski et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError


class SpectralConv:
    """The convolution ``y[t] = sum_k w[k] x[t + k - K // 2]`` with zeros outside, for
    sequences of one length.

    Args:
        weight: ``[D, D / groups, K]`` as of `torch.nn.Conv1d`.
        groups: channels of different groups do not mix.
        n_steps: T, length of the sequences.
    """

    def __init__(self, weight: Tensor, groups: int, n_steps: int) -> None:
        width, kernel = weight.shape[1], weight.shape[2]
        before = kernel // 2
        period = (
            n_steps + before
        )  # so many zeros follow that the end does not reach around into the beginning
        frequencies = torch.arange(period // 2 + 1, dtype=torch.float64)
        steps = torch.arange(n_steps, dtype=torch.float64)
        cosine, sine = _waves(frequencies, steps, period)
        # Every frequency but 0 and half the rate stands for itself and its mirror
        # image.
        mirrored = ((frequencies > 0) & (2 * frequencies < period)) + 1
        share = mirrored.double()[:, None] / period
        self.analysis = torch.cat([cosine, -sine]).to(weight.dtype)
        self.synthesis = (
            torch.cat([share * cosine, -share * sine]).T.contiguous().to(weight.dtype)
        )
        taps = torch.arange(kernel, dtype=torch.float64) - before
        cosine, sine = (
            wave.to(weight.dtype) for wave in _waves(frequencies, taps, period)
        )
        flat = weight.flatten(0, 1).T
        response = torch.complex(cosine @ flat, sine @ flat)
        self.response = (
            response.view(len(frequencies), groups, -1, width)
            .transpose(2, 3)
            .contiguous()
        )

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


#: Channels, kernel and stride of one convolution of the stem.
ConvLayer = Sequence[int]
#: A number, or an int64 tensor of them.
Count = TypeVar("Count", int, Tensor)


class ConvStem(nn.Module):
    """Convolutions without padding, each followed by GELU; the first is normalised per
    channel over time.

    Args:
        n_leads: channels of the signal.
        layers: ``(channels, kernel, stride)`` of each convolution.
        bias: whether the convolutions have one.
    """

    def __init__(self, n_leads: int, layers: Sequence[ConvLayer], bias: bool) -> None:
        super().__init__()
        channels_in = [n_leads, *(channels for channels, _, _ in layers)]
        convs = [
            nn.Conv1d(before, channels, kernel, stride, bias=bias)
            for before, (channels, kernel, stride) in zip(
                channels_in, layers, strict=False
            )
        ]
        self.convs = nn.ModuleList(convs)
        self.steps = [(kernel, stride) for _, kernel, stride in layers]
        first = layers[0][0]
        self.norm = nn.GroupNorm(first, first)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Map signals ``[B, n_leads, T]`` to ``[B, C, T']``."""
        for index, conv in enumerate(self.convs):
            x = conv(x)
            x = self.act(x if index else self.norm(x))
        return x

    def n_tokens(self, n_samples: Count) -> Count:
        """Return how many tokens so many samples become; below one where they are too
        few.
        """
        for kernel, stride in self.steps:
            n_samples = (n_samples - kernel) // stride + 1
        return n_samples


class PositionalConv(nn.Module):
    """Relative positions from a grouped convolution over time, ``gelu(conv(x))``
    (Mohamed et al. 2019).

    The weight is a direction times a gain for each tap of the kernel (weight
    normalisation over the other two axes, Salimans and Kingma 2016).

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
        self.direction = nn.Parameter(torch.empty(dim, dim // groups, kernel))
        self.gain = nn.Parameter(torch.empty(1, 1, kernel))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.act = nn.GELU()
        self._made: _Made | None = None

    def weight(self) -> Tensor:
        """Return the kernel ``[D, D / groups, taps]``."""
        return self.direction * (
            self.gain / self.direction.norm(dim=(0, 1), keepdim=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, T', D]`` to the same shape."""
        if (
            torch.is_grad_enabled()
            or x.device.type != "cpu"
            or torch.compiler.is_compiling()
        ):
            return self.act(self._direct(x))
        with torch.autocast(
            "cpu", enabled=False
        ):  # lower precisions have no complex numbers
            precise = x.to(torch.promote_types(x.dtype, torch.float32))
            return self.act(
                self._spectral(x.shape[1], precise.dtype)(precise).add_(self.bias)
            ).to(x.dtype)

    def _direct(self, x: Tensor) -> Tensor:
        padding = self.direction.shape[-1] // 2
        found = F.conv1d(
            x.transpose(1, 2),
            self.weight(),
            self.bias,
            padding=padding,
            groups=self.groups,
        )
        return found[..., : x.shape[1]].transpose(
            1, 2
        )  # an even kernel gives one step too many, at the end

    def _spectral(self, n_steps: int, dtype: torch.dtype) -> SpectralConv:
        """Return the convolution for sequences of one length, made again when a number
        of the weights has changed.

        The numbers themselves are compared: a fused optimizer changes them without a
        trace.
        """
        made = self._made
        if (
            made is None
            or made.key != (n_steps, dtype)
            or not made.is_of(self.direction, self.gain)
        ):
            conv = SpectralConv(self.weight().to(dtype), self.groups, n_steps)
            made = self._made = _Made(
                (n_steps, dtype), self.direction.clone(), self.gain.clone(), conv
            )
        return made.conv

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be made again."""
        return {**self.__dict__, "_made": None}


class _Made(NamedTuple):
    """A convolution, and the weights that it was made from."""

    key: tuple[int, torch.dtype]
    direction: Tensor
    gain: Tensor
    conv: SpectralConv

    def is_of(self, direction: Tensor, gain: Tensor) -> bool:
        same = (
            self.direction.dtype == direction.dtype
            and self.direction.device == direction.device
        )
        return (
            same
            and torch.equal(self.direction, direction)
            and torch.equal(self.gain, gain)
        )


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017).

    Args:
        dim: D.
        n_heads: heads of D / n_heads channels.
        dropout: of the attention weights, in training.
    """

    def __init__(self, dim: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        if dim % n_heads:
            raise ConfigError(f"n_heads={n_heads} must divide dim={dim}.")
        self.n_heads = n_heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """Map ``[B, T', D]`` to the same shape; ``seen`` ``[B, 1, 1, T']`` is False for
        keys to leave out.
        """
        dropout = self.dropout if self.training else 0.0
        query, key, value = (
            self._heads(self.query(x)),
            self._heads(self.key(x)),
            self._heads(self.value(x)),
        )
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, dropout_p=dropout
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """Return how much each query looks at each key, the mean over heads, ``[B, T'
        (queries), T' (keys)]``.
        """
        query, key = self._heads(self.query(x)), self._heads(self.key(x))
        scores = (query @ key.transpose(2, 3)) * query.shape[-1] ** -0.5
        if seen is not None:
            scores = scores.masked_fill(~seen, float("-inf"))
        return scores.float().softmax(-1).mean(1)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward network, each added to its input.

    Args:
        dim: D.
        n_heads: attention heads.
        ffn: width of the feed-forward network.
        norm_first: normalise the input of each part, not the sum after it.
        dropout: of what each part adds.
        attention_dropout: of the attention weights.
        activation_dropout: inside the feed-forward network.
    """

    def __init__(
        self,
        dim: int,
        n_heads: int,
        ffn: int,
        *,
        norm_first: bool,
        dropout: float,
        attention_dropout: float,
        activation_dropout: float,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = SelfAttention(dim, n_heads, attention_dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, ffn)
        self.act = nn.GELU()
        self.down = nn.Linear(ffn, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)
        self.activation_drop = nn.Dropout(activation_dropout)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Map ``[B, T', D]`` to the same shape; see `SelfAttention` for ``seen``."""
        if self.norm_first:
            x = x + self.drop(self.attention(self.attention_norm(x), seen))
            return x + self.drop(self._ffn(self.ffn_norm(x)))
        x = self.attention_norm(x + self.drop(self.attention(x, seen)))
        return self.ffn_norm(x + self.drop(self._ffn(x)))

    def attention_weights(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return the attention weights ``[B, T', T']`` of the layer's input ``[B, T',
        D]``.
        """
        return self.attention.weights(
            self.attention_norm(x) if self.norm_first else x, seen
        )

    def _ffn(self, x: Tensor) -> Tensor:
        return self.down(self.activation_drop(self.act(self.up(x))))


class Codebook(nn.Module):
    """Discrete codes of the stem's features: one entry of each group (van den Oord et
    al. 2017, Baevski et al. 2020).

    Args:
        features: C of the features.
        groups: codes a token.
        entries: to choose from in each group.
        width: of the joined entries of all groups.
    """

    def __init__(self, features: int, groups: int, entries: int, width: int) -> None:
        super().__init__()
        if width % groups:
            raise ConfigError(
                f"A codebook of {groups} groups cannot be {width} wide; give a multiple."
            )
        self.groups, self.entries = groups, entries
        self.vectors = nn.Parameter(torch.empty(1, groups * entries, width // groups))
        self.scores = nn.Linear(features, groups * entries)

    def forward(self, features: Tensor) -> Tensor:
        """Return the best entry of each group, int64 ``[..., groups]``, for features
        ``[..., C]``.
        """
        return (
            self.scores(features).unflatten(-1, (self.groups, self.entries)).argmax(-1)
        )

    def quantized(self, codes: Tensor) -> Tensor:
        """Return the joined vectors ``[..., width]`` of codes ``[..., groups]``."""
        first = torch.arange(self.groups, device=codes.device) * self.entries
        return self.vectors[0, codes + first].flatten(-2)


class Pretraining(nn.Module):
    """What only the pretraining uses: the masked tokens' embedding, the codebook, and
    the two projections it compares.

    Args:
        dim: D of the tokens.
        features: C of the stem's features.
        codebook: groups, entries and width of the `Codebook`.
        projection: width in which a prediction and its target are compared.
    """

    def __init__(
        self, dim: int, features: int, codebook: Sequence[int], projection: int
    ) -> None:
        super().__init__()
        groups, entries, width = codebook
        self.mask_embedding = nn.Parameter(torch.empty(dim))
        self.codebook = Codebook(features, groups, entries, width)
        self.project_target = nn.Linear(width, projection)
        self.project_prediction = nn.Linear(dim, projection)


class MeanHead(nn.Module):
    """The mean over time and a linear classifier.

    Args:
        dim: D of the tokens.
        n_classes: scores to give; 0 for none, as in a pretrained model.
    """

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.dim = dim
        self.classifier = nn.Linear(dim, n_classes) if n_classes else None

    def embed(self, features: Tensor) -> Tensor:
        """Return ``[B, D]`` of tokens ``[B, T', D]``, whose padded ones are 0.

        As the original has it, each channel's sum is divided by the number of its
        values that are not 0. Where there are none it gives 0, where the original gives
        NaN.
        """
        return features.sum(1) / (features != 0).sum(1).clamp(min=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``[B, n_classes]`` of tokens ``[B, T', D]``.

        Raises:
            ConfigError: there is no classifier.
        """
        if self.classifier is None:
            raise ConfigError(
                "This model is pretrained and has no classifier, so it gives no logits. Take its embeddings with "
                "model.embed(x), or give it a new classifier with model.reset_classifier(n_classes) and train it."
            )
        return self.classifier(self.embed(features))


@torch.no_grad()
def draw_weights(model: nn.Module) -> None:
    """Draw all weights as the original does: linear layers as BERT (Devlin et al.
    2019), convolutions for their fan-in.

    On the meta device there is nothing to draw.
    """
    for module in model.modules():
        if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            continue
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, PositionalConv):
            nn.init.normal_(
                module.direction,
                std=(4 / (module.direction.shape[2] * len(module.bias))) ** 0.5,
            )
            module.gain.copy_(module.direction.norm(dim=(0, 1), keepdim=True))
        elif isinstance(module, Codebook):
            nn.init.uniform_(module.vectors)
        elif isinstance(module, Pretraining):
            nn.init.uniform_(module.mask_embedding)
