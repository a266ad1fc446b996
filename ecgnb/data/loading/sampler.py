"""Sampling: the order of the records and the windows of an epoch.

Everything is a pure function of (seed, epoch, rank) and nothing keeps a state, so a run
that stops anywhere can be continued from the numbers alone. Shuffling sorts hashes
instead of drawing from a generator: the order stays the same over versions of NumPy and
over platforms.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from ecgnb.core.errors import ConfigError

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, the increment of SplitMix64
# Separate the uses of one seed.
_ORDER = 0x6F72646572
_WINDOWS = 0x77696E646F77


def mix(*numbers: int) -> int:
    """Return one number in [0, 2^63) from several; near inputs give unrelated outputs.

    The finaliser is the one of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable
    pseudorandom number generators", OOPSLA).

    >>> mix(0, 1) != mix(1, 0)
    True
    """
    state = 0
    for number in numbers:
        state ^= int(number) & _MASK
        state = _finalise(state + _GOLDEN & _MASK)
    return state >> 1


def _finalise(state: Any) -> Any:
    """Return the output of SplitMix64 for a state, an integer or uint64 array."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
    return state ^ (state >> 31)


def _hashes(numbers: np.ndarray, key: int) -> np.ndarray:
    """Return a 64-bit hash of each number; of 0, 1, 2, ... they are the outputs of
    SplitMix64 from the state ``key``.
    """
    counters = numbers.astype(np.uint64) + 1
    return _finalise(counters * _GOLDEN + key)  # arrays of uint64 wrap around


def _uniform(hashes: np.ndarray) -> np.ndarray:
    """Return float64 in [0, 1) from the upper 53 bits of hashes."""
    return (hashes >> 11) * 2.0**-53


def epoch_order(
    n: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Return the positions of the records of one epoch in the order of their use.

    Args:
        n: number of records.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        shuffle: a permutation of all records, another one each epoch; otherwise 0, 1,
            2, ...
        weights: ``[n]`` sampling weights, up to a factor. With them, ``n`` records are
            drawn with replacement.

    Returns:
        int64 ``[n]`` positions in ``0..n-1``.

    Raises:
        ConfigError: the weights have a wrong length, are negative or not finite, or are
            all zero.
    """
    if weights is None and not shuffle:
        return np.arange(n, dtype=np.int64)
    key = mix(seed, epoch, _ORDER)
    hashes = _hashes(np.arange(n), key)
    if weights is None:
        return np.argsort(hashes, kind="stable").astype(np.int64)
    cumulated = np.cumsum(check_weights(weights, n))
    thresholds = _uniform(hashes) * cumulated[-1]
    drawn = np.searchsorted(cumulated, thresholds, side="right")
    # Rounding may reach past the last record with a positive weight.
    last = np.flatnonzero(weights)[-1]
    return np.minimum(drawn, last)


def patient_order(
    patients: np.ndarray,
    *,
    seed: int,
    epoch: int,
    records_per_patient: int,
    batch_size: int,
) -> np.ndarray:
    """Return an order of the records in which records of one patient are neighbours.

    Each record comes once in an epoch. The records of a patient are shuffled and cut
    into groups of at most ``records_per_patient``; the groups are shuffled and packed
    into batches of ``batch_size``. A group is split between batches only where none has
    room for it.

    Args:
        patients: int64 ``[n]`` group numbers, equal for records of one patient.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        records_per_patient: largest number of records of one patient in a group.
        batch_size: records per batch and process.

    Returns:
        int64 ``[n]``, a permutation.

    >>> patient_order(
    ...     np.array([0, 1, 0, 2]), seed=0, epoch=0, records_per_patient=2, batch_size=2
    ... ).tolist()
    [0, 2, 1, 3]
    """
    n = len(patients)
    order = epoch_order(n, seed=seed, epoch=epoch)
    groups = _groups(patients, order, records_per_patient)
    order_of_groups = epoch_order(len(groups), seed=mix(seed, _ORDER), epoch=epoch)
    batches: list[list[int]] = []
    rooms = []  # heap: the batch with most room comes first
    for number, first in enumerate(range(0, n, batch_size)):
        batches.append([])
        rooms.append((-min(batch_size, n - first), number))
    shuffled = [groups[index] for index in order_of_groups]
    # Large groups first, so that small ones fill the batches up.
    for group in sorted(shuffled, key=len, reverse=True):
        while group:
            negative_room, number = heapq.heappop(rooms)
            room = -negative_room
            batches[number] += group[:room]
            if len(group) < room:
                heapq.heappush(rooms, (len(group) - room, number))
            group = group[room:]  # of a group that fits nowhere
    return np.array(list(chain(*batches)), dtype=np.int64)


def _groups(patients: np.ndarray, order: np.ndarray, size: int) -> list[list[int]]:
    """Cut the records of each patient into groups of at most ``size``."""
    by_patient = defaultdict(list)
    for position in order.tolist():
        by_patient[patients[position]].append(position)
    groups = []
    for positions in by_patient.values():
        for first in range(0, len(positions), size):
            groups.append(positions[first : first + size])
    return groups


def window_starts(
    valid: np.ndarray,
    rows: np.ndarray,
    count: int,
    length: int,
    *,
    seed: int,
    epoch: int,
) -> np.ndarray:
    """Draw ``count`` windows of ``length`` samples of each record.

    A window lies in the recorded part of the record where that is long enough, and
    begins with it otherwise.

    Args:
        valid: int64 ``[B, 2]``, first recorded sample and the one after the last.
        rows: int64 ``[B]`` rows of the store; with seed and epoch they decide the
            windows.
        count: windows per record.
        length: samples per window.
        seed: seed of the run.
        epoch: number of the epoch.

    Returns:
        int64 ``[B, count]`` first samples; with a recorded part shorter than ``length``
        a window may reach past the end of the signal.
    """
    numbers = rows[:, None] * count + np.arange(count)  # [B, count]
    hashes = _hashes(numbers, mix(seed, epoch, _WINDOWS))
    start, stop = valid.T[:, :, None]  # each [B, 1]
    choices = np.maximum(stop - start - length, 0) + 1
    offsets = _uniform(hashes) * choices
    return start + offsets.astype(np.int64)


def check_weights(weights: np.ndarray, n: int) -> np.ndarray:
    """Return ``weights`` as float64 ``[n]``.

    Raises:
        ConfigError: another shape, or they are negative, not finite or all zero.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (n,):
        raise ConfigError(
            f"The sampling weights have shape {weights.shape}, but there are {n} "
            "records: give one per record."
        )
    is_good = np.isfinite(weights) & (weights >= 0)
    bad = np.flatnonzero(~is_good)
    if bad.size:
        raise ConfigError(
            f"The sampling weight of record {bad[0]} is {weights[bad[0]]}. "
            "Weights must be finite and not negative."
        )
    if not weights.any():
        raise ConfigError(
            "All sampling weights are zero, so no record can be drawn. "
            "Give some a positive weight."
        )
    return weights


def class_counts(targets: np.ndarray) -> np.ndarray:
    """Return int64 ``[n, n_classes + 1]``: one column per class, then one for records
    without any class.

    Args:
        targets: int64 ``[n]`` class numbers, or {0, 1} ``[n, n_classes]``.
    """
    targets = np.asarray(targets)
    has_class = targets > 0
    if targets.ndim == 1:
        n_classes = targets.max(initial=-1) + 1
        has_class = targets[:, None] == np.arange(n_classes)
    without = ~has_class.any(axis=1)
    return np.column_stack([has_class, without]).astype(np.int64)


def balanced_weights(targets: np.ndarray) -> np.ndarray:
    """Return sampling weights with which every class is drawn equally often.

    The weight of a record is the inverse of its class's frequency. With several labels
    the rarest one counts; records without any label are a class of their own.

    Args:
        targets: int64 ``[n]`` class numbers, or {0, 1} ``[n, n_classes]``.

    Returns:
        float64 ``[n]`` with mean 1.
    """
    present = class_counts(targets)
    counts = present.sum(axis=0)
    weights = (present / np.maximum(counts, 1)).max(axis=1)
    return weights / weights.mean()


class Slice(NamedTuple):
    """Part of a global batch that belongs to one rank: ``order[start:stop]``.

    Attributes:
        start: first position of the epoch's order.
        stop: the position after the last.
        n_local: records that count; 0 for a rank that borrows one, see `rank_slice`.
        n_global: records of the batch over all ranks.
    """

    start: int
    stop: int
    n_local: int
    n_global: int


def count_batches(n: int, batch_size: int, world_size: int = 1) -> int:
    """Return the number of global batches of ``n`` records; the last may be smaller."""
    return -(-n // (batch_size * world_size))


def rank_slice(
    n: int,
    batch: int,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
) -> Slice:
    """Return the contiguous part of global batch number ``batch`` for ``rank``.

    The parts of all ranks together are the batch that one process would take with
    ``batch_size * world_size``. The records of an uneven last batch are spread evenly.
    When it has fewer records than there are ranks, a rank without one borrows the
    batch's first and counts it as 0 records, since every rank must take part in the
    exchange of gradients.

    >>> [rank_slice(7, 1, 2, rank, 2)[:3] for rank in (0, 1)]
    [(4, 5, 1), (5, 7, 2)]
    """
    global_size = batch_size * world_size
    first = batch * global_size
    n_global = min(n - first, global_size)
    start = first + n_global * rank // world_size
    stop = first + n_global * (rank + 1) // world_size
    if start == stop:
        return Slice(first, first + 1, 0, n_global)
    return Slice(start, stop, stop - start, n_global)
