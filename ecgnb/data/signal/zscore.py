"""Z-score of signals, for numpy arrays and torch tensors."""

from __future__ import annotations

from typing import Any


def zscore(
    x: Any, axis: tuple[int, ...], count: Any, valid: Any = None, eps: float = 0.0
) -> Any:
    """Return ``x`` with mean 0 and population variance 1 over ``axis``.

    A constant signal becomes 0, and its gradient is finite.

    Args:
        x: floating array or tensor ``[..., n_leads, n_samples]``, 0 where not valid.
        axis: ``(-1,)`` for each lead, ``(-2, -1)`` for all leads together.
        count: valid samples over ``axis``, broadcastable to ``x``.
        valid: bool, broadcastable to ``x``; ``None`` when all samples are valid.
        eps: standard deviation up to which a signal is constant, in its unit.
    """
    centred = x - x.sum(axis, keepdims=True) / count
    if valid is not None:
        centred = centred * valid
    variance = (centred**2).sum(axis, keepdims=True) / count
    constant = variance <= eps**2
    # + 1 where constant: the root of 0 has an infinite slope
    scale = (variance + constant) ** -0.5
    return centred * (scale * ~constant)
