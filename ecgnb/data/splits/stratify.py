"""Stratified assignment of groups to parts: every class in proportion.

A greedy procedure after iterative stratification (Sechidis, Tsoumakas and Vlahavas
2011, "On the stratification of multi-label data", ECML PKDD), with groups of records in
place of single records: the rarest class is assigned first, while there is a choice.
"""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd

from ecgnb.data.loading.sampler import epoch_order


def assign_groups(
    counts: np.ndarray,
    groups: np.ndarray,
    fractions: np.ndarray,
    seed: int,
    at_least_one: bool = True,
) -> np.ndarray:
    """Assign each group to a part.

    Args:
        counts: int64 ``[n, n_classes]``, classes of each record.
        groups: int64 ``[n]`` group of each record, numbered from 0.
        fractions: ``[n_parts]`` sizes of the parts, with sum 1.
        seed: decides between groups that are alike.
        at_least_one: a class with enough groups gets one group in each part, however
            small the part.

    Returns:
        int64 ``[n_groups]`` number of the part of each group. No part is empty when
        there are enough groups.
    """
    # One row per group: records of each class, then all records of the group.
    columns = np.column_stack([counts, np.ones_like(groups)])
    table = pd.DataFrame(columns).groupby(groups).sum().to_numpy()
    n_groups = len(table)
    wanted = np.outer(fractions, table.sum(axis=0))
    if at_least_one:
        wanted = _raise_small_shares(wanted, table)
    order = epoch_order(n_groups, seed=seed, epoch=0)
    assigned = np.empty(n_groups, dtype=np.int64)
    shuffled = table[order].tolist()
    assigned[order] = _assign_by_class(shuffled, wanted.tolist())
    return _fill_empty_parts(assigned, table[:, -1], len(fractions))


def _raise_small_shares(wanted: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Raise the share of a class to at least a typical group in each part, at the
    expense of the largest part.
    """
    wanted = wanted.copy()
    n_groups_of_class = (table > 0).sum(axis=0)
    largest = wanted[:, -1].argmax()
    for column in np.flatnonzero(n_groups_of_class >= len(wanted)):
        sizes = table[:, column]
        typical = np.median(sizes[sizes > 0])
        share = wanted[:, column]  # a view
        raised = np.maximum(share, typical)
        raised[largest] -= raised.sum() - share.sum()
        if raised[largest] >= typical:
            share[:] = raised
    return wanted


def _assign_by_class(table: list[list[int]], wanted: list[list[float]]) -> list[int]:
    """Assign groups class by class, always the class with the fewest records left.

    Python lists: single elements are several times faster than in numpy arrays.
    """
    parts = [-1] * len(table)
    left = copy.deepcopy(wanted)
    remaining = np.sum(table, axis=0).tolist()
    while any(remaining[:-1]):
        fewest = min(filter(None, remaining[:-1]))
        rarest = remaining.index(fewest)  # the first of equal ones
        waiting = []
        for group, counts in enumerate(table):
            if counts[rarest] and parts[group] < 0:
                waiting.append(group)
        # Large groups first: small ones fill the rest.
        waiting.sort(key=lambda group: -table[group][rarest])
        for group in waiting:
            counts = table[group]
            part = _choose_part(counts, rarest, left, wanted)
            parts[group] = part
            for column, count in enumerate(counts):
                left[part][column] -= count
                remaining[column] -= count
    return parts


def _choose_part(
    counts: list[int],
    column: int,
    left: list[list[float]],
    wanted: list[list[float]],
) -> int:
    """Choose the part with most of the class left to assign, relative to its share.

    Relative, so that all parts fill at the same pace and get the same mixture of large
    and small groups. Parts without room for the group are chosen only when none has.
    """
    rooms = {}
    for part, (rest, share) in enumerate(zip(left, wanted, strict=True)):
        if rest[column] >= counts[column] and share[column] > 0:
            room_of_class = rest[column] / share[column]
            room_of_all = rest[-1] / share[-1]
            rooms[part] = (room_of_class, room_of_all)
    if not rooms:
        for part, rest in enumerate(left):
            rooms[part] = (rest[column] - counts[column], rest[-1])
    return max(rooms, key=rooms.__getitem__)  # the first of equal ones


def _fill_empty_parts(
    assigned: np.ndarray,
    sizes: np.ndarray,
    n_parts: int,
) -> np.ndarray:
    """Move the smallest group of the part with most groups into each empty part."""
    for part in range(n_parts):
        if (assigned == part).any():
            continue
        most_groups = np.bincount(assigned, minlength=n_parts).argmax()
        candidates = np.flatnonzero(assigned == most_groups)
        if len(candidates) > 1:
            smallest = np.argmin(sizes[candidates])
            assigned[candidates[smallest]] = part
    return assigned
