"""Attention as Keras has it, as modules; an exported model carries the source of those
it uses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        self.heads, self.scale = heads, key_size**-0.5
        self.query = nn.Linear(query_dim, heads * key_size, bias=bias)
        self.key = nn.Linear(source_dim, heads * key_size, bias=bias)
        self.value = nn.Linear(value_dim, heads * value_size, bias=bias)
        self.output = nn.Linear(heads * value_size, output_dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(  # noqa: D102
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
        q, k, v = (
            self._by_head(each)
            for each in (self.query(query), self.key(key), self.value(value))
        )
        scores = (q * self.scale) @ k.transpose(-2, -1)
        allowed = torch.ones_like(scores, dtype=torch.bool)
        if mask is not None:
            allowed = allowed & (mask if mask.ndim == 4 else mask.unsqueeze(-3)).bool()
        if query_mask is not None:
            allowed = allowed & query_mask.bool()[:, None, :, None]
        for each in (value_mask, key_mask):
            if each is not None:
                allowed = allowed & each.bool()[:, None, None, :]
        weights = self._weights(
            scores, ~(allowed.tril() if causal else allowed), masking
        )
        mixed = self.dropout(weights) @ v
        return self.output(mixed.transpose(1, 2).flatten(2)), weights

    @staticmethod
    def _weights(scores: Tensor, forbidden: Tensor, masking: str) -> Tensor:
        """Return the weights; ``masking`` matters only where nothing is allowed, and is
        as each Keras has it.
        """
        if masking == "add":
            return (scores - 1e9 * forbidden.to(scores.dtype)).softmax(-1)
        weights = scores.masked_fill(forbidden, -1e9).softmax(-1)
        return weights.masked_fill(forbidden, 0.0) if masking == "zero" else weights

    def _by_head(self, x: Tensor) -> Tensor:
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
        self.scale = None if scale is None else nn.Parameter(torch.ones(scale))
        self.concat_score_weight = (
            nn.Parameter(torch.ones(())) if score == "concat" else None
        )
        self.dropout = nn.Dropout(dropout)

    def forward(  # noqa: D102
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
        forbidden = ~(allowed.tril() if causal else allowed)
        weights = (scores - 1e9 * forbidden.to(scores.dtype)).softmax(-1)
        output = self.dropout(weights) @ value
        return output if query_mask is None else output * query_mask.unsqueeze(-1).to(
            output.dtype
        ), weights

    def extra_repr(self) -> str:  # noqa: D102
        return self.score

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        scale = 1.0 if self.scale is None else self.scale
        if self.score == "dot":
            return query @ key.transpose(-2, -1) * scale
        both = query.unsqueeze(-2) + key.unsqueeze(-3)
        if self.score == "additive":
            return (scale * both.tanh()).sum(-1)
        scores = (scale * both).tanh().sum(-1)
        return (
            scores
            if self.concat_score_weight is None
            else self.concat_score_weight * scores
        )
