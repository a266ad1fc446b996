"""Attention as Keras has it, with free widths and with learnt scales."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def masked_softmax(scores: Tensor, forbidden: Tensor, masking: str = "add") -> Tensor:
    """Return the attention weights. ``masking`` matters only where all is forbidden:
    ``"add"`` leaves the softmax of the scores, ``"fill"`` gives equal weights,
    ``"zero"`` none.
    """
    if masking == "add":
        penalty = 1e9 * forbidden.to(scores.dtype)
        return (scores - penalty).softmax(-1)
    weights = scores.masked_fill(forbidden, -1e9).softmax(-1)
    if masking == "zero":
        weights = weights.masked_fill(forbidden, 0.0)
    return weights


class MultiHeadAttention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, 3.2.2) with free widths, which
    `nn.MultiheadAttention` has not.

    It returns the output ``[B, T, output_dim]`` and the weights ``[B, heads, T, S]``.
    Masks are boolean, ``True`` where attention may go.

    Args:
        query_dim: channels of the queries.
        value_dim: channels of the values.
        source_dim: channels of the keys.
        heads: number of heads.
        key_size: channels of a head's queries and keys.
        value_size: channels of a head's values.
        output_dim: channels of the output.
        bias: whether the projections have biases.
        dropout: of the weights, in training.
    """

    def __init__(
        self,
        query_dim: int,
        value_dim: int,
        source_dim: int,
        heads: int,
        key_size: int,
        value_size: int,
        output_dim: int,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.scale = key_size**-0.5  # Vaswani et al. 2017, equation 1
        self.query = nn.Linear(query_dim, heads * key_size, bias=bias)
        self.key = nn.Linear(source_dim, heads * key_size, bias=bias)
        self.value = nn.Linear(value_dim, heads * value_size, bias=bias)
        self.output = nn.Linear(heads * value_size, output_dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor,
        causal: bool = False,
        masking: str = "add",
        mask: Tensor | None = None,
        query_mask: Tensor | None = None,
        value_mask: Tensor | None = None,
        key_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        q = self._by_head(self.query(query))
        k = self._by_head(self.key(key))
        v = self._by_head(self.value(value))
        scores = (q * self.scale) @ k.transpose(-2, -1)  # [B, heads, T, S]
        allowed = torch.ones_like(scores, dtype=torch.bool)
        if mask is not None:
            if mask.ndim != 4:  # one for all heads
                mask = mask.unsqueeze(-3)
            allowed = allowed & mask.bool()
        if query_mask is not None:
            allowed = allowed & query_mask.bool()[:, None, :, None]  # [B, 1, T, 1]
        for source_mask in (value_mask, key_mask):
            if source_mask is not None:
                source_mask = source_mask.bool()[:, None, None, :]  # [B, 1, 1, S]
                allowed = allowed & source_mask
        if causal:
            allowed = allowed.tril()
        weights = masked_softmax(scores, ~allowed, masking)
        mixed = self.dropout(weights) @ v  # [B, heads, T, value_size]
        joined = mixed.transpose(1, 2).flatten(2)
        return self.output(joined), weights

    def _by_head(self, x: Tensor) -> Tensor:
        # [B, T, heads * size] -> [B, heads, T, size]
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class ScoredAttention(nn.Module):
    """Attention without projections (Bahdanau et al. 2015; Luong et al. 2015).

    It returns the output ``[B, T, C]`` and the weights ``[B, T, S]``. Masks are
    boolean, ``True`` where attention may go.

    Args:
        score: ``"dot"``: ``scale * query @ key``; ``"additive"``: ``sum(scale *
            tanh(query + key))``; ``"concat"``: a learnt weight times ``sum(tanh(scale *
            (query + key)))``.
        scale: shape of the learnt scale; ``None`` for none.
        dropout: of the weights, in training.
    """

    def __init__(
        self,
        score: str = "dot",
        scale: tuple[int, ...] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.score = score
        self.scale: nn.Parameter | None = None
        if scale is not None:
            self.scale = nn.Parameter(torch.ones(scale))
        self.concat_score_weight: nn.Parameter | None = None
        if score == "concat":
            self.concat_score_weight = nn.Parameter(torch.ones(()))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor,
        causal: bool = False,
        query_mask: Tensor | None = None,
        value_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        scores = self._scores(query, key)
        allowed = torch.ones_like(scores, dtype=torch.bool)
        if value_mask is not None:
            allowed = allowed & value_mask.bool().unsqueeze(-2)
        if causal:
            allowed = allowed.tril()
        weights = masked_softmax(scores, ~allowed)
        output = self.dropout(weights) @ value
        if query_mask is not None:
            kept = query_mask.unsqueeze(-1)  # [B, T, 1]
            output = output * kept.to(output.dtype)
        return output, weights

    def extra_repr(self) -> str:
        return self.score

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        scale = 1.0 if self.scale is None else self.scale
        if self.score == "dot":
            return query @ key.transpose(-2, -1) * scale
        sums = query.unsqueeze(-2) + key.unsqueeze(-3)  # [B, T, S, C]
        if self.score == "additive":
            return (scale * sums.tanh()).sum(-1)
        scores = (scale * sums).tanh().sum(-1)
        assert self.concat_score_weight is not None
        return self.concat_score_weight * scores
