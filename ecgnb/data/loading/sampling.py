"""Which record comes when: the order of an epoch as pure functions of (seed, epoch,
rank).

Nothing here keeps a state, so a run that stops anywhere can be continued from the
numbers alone. The shuffling sorts hashes instead of drawing from a generator: the order
stays the same over versions of NumPy and over platforms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ecgnb.core.errors import ConfigError

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, the increment of SplitMix64
_ORDER = 0x6F72646572  # keeps the shuffling apart from other uses of the same seed


def mix(*numbers: int) -> int:
    """Return one number in [0, 2^63) from several; near inputs give unrelated outputs.

    The finaliser is the one of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable
    pseudorandom number generators", OOPSLA).

    >>> mix(0, 1) != mix(1, 0)
    True
    """
    state = 0
    for number in numbers:
        state = _finalise((state ^ (int(number) & _MASK)) + _GOLDEN & _MASK)
    return state >> 1


def _finalise(state: int) -> int:
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
    return state ^ (state >> 31)


def _hashes(n: int, key: int) -> np.ndarray:
    """Return ``n`` 64-bit hashes, the numbers that SplitMix64 gives from the state
    ``key``.
    """
    state = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(key)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def epoch_order(
    n: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Return the positions of the records of one epoch in the order in which they are
    used.

    Args:
        n: number of records.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        shuffle: a permutation of all records, another one each epoch; otherwise 0, 1,
            2, ...
        weights: ``[n]`` chances of the records, up to a factor. Given, ``n`` records
            are drawn with replacement.

    Returns:
        int64 ``[n]`` positions in ``0..n-1``.

    Raises:
        ConfigError: the weights have a wrong length, are negative or not finite, or are
            all zero.
    """
    if weights is None and not shuffle:
        return np.arange(n, dtype=np.int64)
    hashes = _hashes(n, mix(seed, epoch, _ORDER))
    if weights is None:
        return np.argsort(hashes, kind="stable").astype(np.int64)
    cumulated = np.cumsum(check_weights(weights, n))
    uniform = (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
    drawn = np.searchsorted(cumulated, uniform * cumulated[-1], side="right")
    # Rounding may reach past the last record that has a chance at all.
    return np.minimum(drawn, np.flatnonzero(weights)[-1]).astype(np.int64)


def check_weights(weights: np.ndarray, n: int) -> np.ndarray:
    """Return ``weights`` as float64 ``[n]``, or raise ``ConfigError`` when they cannot
    be chances of ``n`` records.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (n,):
        raise ConfigError(
            f"The sampling weights have shape {weights.shape}, but there are {n} records: give one each."
        )
    bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if bad.size:
        raise ConfigError(
            f"The sampling weight of record {bad[0]} is {weights[bad[0]]}. Weights must be finite and not negative."
        )
    if not weights.any():
        raise ConfigError(
            "All sampling weights are zero, so no record can be drawn. Give some a positive weight."
        )
    return weights


def balanced_weights(targets: np.ndarray) -> np.ndarray:
    """Return sampling weights that show every class equally often.

    A record weighs the inverse of its class's frequency. With several labels the rarest
    one counts; records without any label are a class of their own.

    Args:
        targets: int64 ``[n]`` class numbers, or {0, 1} ``[n, n_classes]``.

    Returns:
        float64 ``[n]`` with mean 1.
    """
    targets = np.asarray(targets)
    if targets.ndim == 1:
        weights = 1.0 / np.bincount(targets)[targets]
    else:
        present = np.column_stack([targets > 0, ~(targets > 0).any(axis=1)])
        weights = (present / np.maximum(present.sum(axis=0), 1)).max(axis=1)
    return weights / weights.mean()


class Slice(NamedTuple):
    """What one rank takes of one global batch: ``order[start:stop]``.

    ``n_local`` is the number of records that count (0 when the rank had to borrow one,
    see ``rank_slice``) and ``n_global`` the number of records of the batch over all
    ranks.
    """

    start: int
    stop: int
    n_local: int
    n_global: int


def count_batches(n: int, batch_size: int, world_size: int = 1) -> int:
    """Return how many global batches ``n`` records make; the last one may be
    smaller.
    """
    return -(-n // (batch_size * world_size))


def rank_slice(
    n: int, batch: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> Slice:
    """Return the contiguous part of global batch number ``batch`` that belongs to
    ``rank``.

    The parts of all ranks together are the batch that one process would take with
    ``batch_size * world_size``. The records of an uneven last batch are spread evenly.
    When it has fewer records than there are ranks, a rank without one borrows the
    batch's first and counts it as 0 records, since every rank must take part in the
    exchange of gradients.

    >>> [rank_slice(7, 1, 2, rank, 2)[:3] for rank in (0, 1)]
    [(4, 5, 1), (5, 7, 2)]
    """
    first = batch * batch_size * world_size
    n_global = min(n - first, batch_size * world_size)
    start = first + n_global * rank // world_size
    stop = first + n_global * (rank + 1) // world_size
    if start == stop:
        return Slice(first, first + 1, 0, n_global)
    return Slice(start, stop, stop - start, n_global)
