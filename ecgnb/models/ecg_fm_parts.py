"""Layers of ECG-FM: convolution stem, transformer, codebook.

They give the same numbers as the original trainer (fairseq-signals; wav2vec 2.0,
Baevski et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.models.positional_conv import PositionalConv

#: Channels, kernel and stride of one convolution of the stem.
ConvLayer = Sequence[int]
Count = TypeVar("Count", int, Tensor)


class ConvStem(nn.Module):
    """Convolutions without padding, each followed by GELU.

    The first one is normalised per channel over time.

    Args:
        n_leads: channels of the signal.
        layers: ``(channels, kernel, stride)`` of each convolution.
        bias: whether the convolutions have one.
    """

    def __init__(self, n_leads: int, layers: Sequence[ConvLayer], bias: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        self.steps = []
        c_in = n_leads
        for channels, kernel, stride in layers:
            self.convs.append(nn.Conv1d(c_in, channels, kernel, stride, bias=bias))
            self.steps.append((kernel, stride))
            c_in = channels
        first = layers[0][0]
        self.norm = nn.GroupNorm(first, first)  # one group per channel
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Map signals ``[B, n_leads, T]`` to ``[B, C, T']``."""
        for index, conv in enumerate(self.convs):
            x = conv(x)
            if index == 0:
                x = self.norm(x)
            x = self.act(x)
        return x

    def n_tokens(self, n_samples: Count) -> Count:
        """Return the number of tokens of a signal; below 1 if it is too short."""
        for kernel, stride in self.steps:
            n_samples = (n_samples - kernel) // stride + 1  # no padding
        return n_samples


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

    def forward(self, x: Tensor, attended: Tensor | None) -> Tensor:
        """Map ``[B, T', D]`` to the same shape.

        ``attended`` ``[B, 1, 1, T']`` is False for keys to ignore; None for none.
        """
        dropout = self.dropout if self.training else 0.0
        values = F.scaled_dot_product_attention(
            self._heads(self.query(x)),
            self._heads(self.key(x)),
            self._heads(self.value(x)),
            attn_mask=attended,
            dropout_p=dropout,
        )
        joined = values.transpose(1, 2).flatten(2)  # heads side by side, [B, T', D]
        return self.out(joined)

    def weights(self, x: Tensor, attended: Tensor | None) -> Tensor:
        """Return attention weights, the mean over heads, ``[B, T' (queries), T'
        (keys)]``.
        """
        query = self._heads(self.query(x))  # [B, n_heads, T', D / n_heads]
        key = self._heads(self.key(x))
        scale = query.shape[-1] ** -0.5
        scores = (query @ key.transpose(2, 3)) * scale
        if attended is not None:
            scores = scores.masked_fill(~attended, float("-inf"))  # softmax gives 0
        return scores.float().softmax(-1).mean(1)  # float32 also under autocast

    def _heads(self, x: Tensor) -> Tensor:
        # [B, n_heads, T', width]
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward network, each added to its input.

    Args:
        dim: D.
        n_heads: attention heads.
        ffn: width of the feed-forward network.
        norm_first: normalise the input of each part, not the sum after it.
        dropout: of each part's output.
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

    def forward(self, x: Tensor, attended: Tensor | None = None) -> Tensor:
        """Map ``[B, T', D]`` to the same shape; ``attended`` as in `SelfAttention`."""
        if self.norm_first:
            change = self.attention(self.attention_norm(x), attended)
            x = x + self.drop(change)
            change = self._ffn(self.ffn_norm(x))
            return x + self.drop(change)
        change = self.attention(x, attended)
        x = self.attention_norm(x + self.drop(change))
        change = self._ffn(x)
        return self.ffn_norm(x + self.drop(change))

    def attention_weights(self, x: Tensor, attended: Tensor | None = None) -> Tensor:
        """Return attention weights ``[B, T', T']`` of the input ``[B, T', D]``."""
        if self.norm_first:
            x = self.attention_norm(x)
        return self.attention.weights(x, attended)

    def _ffn(self, x: Tensor) -> Tensor:
        return self.down(self.activation_drop(self.act(self.up(x))))


class Codebook(nn.Module):
    """Vector quantisation of the stem's features: one entry of each group.

    Van den Oord et al. 2017, Baevski et al. 2020.

    Args:
        features: C of the features.
        groups: codes per token.
        entries: of each group.
        width: of the concatenated entries of all groups.
    """

    def __init__(self, features: int, groups: int, entries: int, width: int) -> None:
        super().__init__()
        if width % groups:
            raise ConfigError(
                f"A codebook of {groups} groups cannot have width {width}; give a "
                "multiple."
            )
        self.groups, self.entries = groups, entries
        self.vectors = nn.Parameter(torch.empty(1, groups * entries, width // groups))
        self.scores = nn.Linear(features, groups * entries)

    def forward(self, features: Tensor) -> Tensor:
        """Return the best entry of each group, int64 ``[..., groups]``.

        ``features`` are ``[..., C]``.
        """
        scores = self.scores(features).unflatten(-1, (self.groups, self.entries))
        return scores.argmax(-1)  # no Gumbel noise, as in evaluation

    def quantized(self, codes: Tensor) -> Tensor:
        """Return the vectors ``[..., width]`` of codes ``[..., groups]``."""
        # The entries of all groups follow each other.
        first = torch.arange(self.groups, device=codes.device) * self.entries
        return self.vectors[0, codes + first].flatten(-2)


class Pretraining(nn.Module):
    """Parts that only the pretraining uses.

    Embedding of masked tokens, codebook, and projections of target and prediction.

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
        groups, entries, width = codebook  # width is that of all groups together
        self.mask_embedding = nn.Parameter(torch.empty(dim))  # drawn by `draw_weights`
        self.codebook = Codebook(features, groups, entries, width)
        self.project_target = nn.Linear(width, projection)
        self.project_prediction = nn.Linear(dim, projection)


class MeanHead(nn.Module):
    """The mean over time and a linear classifier.

    Args:
        dim: D of the tokens.
        n_classes: number of outputs; 0 for none, as in a pretrained model.
    """

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.dim = dim
        self.classifier = nn.Linear(dim, n_classes) if n_classes else None

    def embed(self, features: Tensor) -> Tensor:
        """Return ``[B, D]`` of tokens ``[B, T', D]``, whose padded ones are 0.

        As in the original, each channel's sum is divided by the number of its values
        that are not 0; without any, the result is 0 (in the original NaN).
        """
        count = (features != 0).sum(1)  # [B, D]
        return features.sum(1) / count.clamp(min=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``[B, n_classes]`` of tokens ``[B, T', D]``.

        Raises:
            ConfigError: there is no classifier.
        """
        if self.classifier is None:
            raise ConfigError(
                "This model is pretrained and has no classifier, so it gives no "
                "logits. Take its embeddings with model.embed(x), or give it a new "
                "classifier with model.reset_classifier(n_classes) and train it."
            )
        return self.classifier(self.embed(features))


@torch.no_grad()
def draw_weights(model: nn.Module) -> None:
    """Initialise all weights as the original.

    Linear layers as BERT (Devlin et al. 2019), convolutions for their fan-in. Weights
    on the meta device have no values.
    """
    for module in model.modules():
        if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            continue
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)  # of BERT
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, PositionalConv):
            dim, _, kernel = module.direction.shape
            nn.init.normal_(module.direction, std=(4 / (kernel * dim)) ** 0.5)
            # weight = direction
            module.gain.copy_(module.direction.norm(dim=(0, 1), keepdim=True))
        elif isinstance(module, Codebook):
            nn.init.uniform_(module.vectors)
        elif isinstance(module, Pretraining):
            nn.init.uniform_(module.mask_embedding)
