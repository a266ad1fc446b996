"""Parts of wanted sizes out of groups that stay together, with every class shared out
in proportion.

A greedy procedure in the manner of iterative stratification (Sechidis, Tsoumakas and
Vlahavas 2011, "On the stratification of multi-label data", ECML PKDD), with groups of
records in place of single ones: the rarest class is shared out first, while there is
still a choice.
"""

from __future__ import annotations

import numpy as np

from ecgnb.data.loading.sampler import epoch_order


def class_counts(targets: np.ndarray) -> np.ndarray:
    """Return int64 ``[n, n_columns]``: one column a class, then one for records without
    any class.

    Args:
        targets: int64 ``[n]`` class numbers, or {0, 1} ``[n, n_classes]``.
    """
    targets = np.asarray(targets)
    numbers = targets.ndim == 1
    present = (
        targets[:, None] == np.arange(targets.max(initial=-1) + 1)
        if numbers
        else targets > 0
    )
    return np.column_stack([present, ~present.any(axis=1)]).astype(np.int64)


def assign_groups(
    counts: np.ndarray,
    groups: np.ndarray,
    fractions: np.ndarray,
    seed: int,
    at_least_one: bool = True,
) -> np.ndarray:
    """Assign each group to a part.

    Args:
        counts: int64 ``[n, n_classes]``, what each record has of each class.
        groups: int64 ``[n]`` group of each record, numbered from 0.
        fractions: ``[n_parts]`` wanted sizes, with sum 1.
        seed: decides between groups that are alike.
        at_least_one: a class that enough groups have gets one group in each part,
            however small the part.

    Returns:
        int64 ``[n_groups]`` number of the part of each group. No part is empty when
        there are enough groups.
    """
    n_groups = int(groups.max()) + 1
    table = np.zeros((n_groups, counts.shape[1] + 1), dtype=np.int64)
    np.add.at(
        table, groups, np.column_stack([counts, np.ones(len(counts), dtype=np.int64)])
    )
    wanted = np.outer(fractions, table.sum(axis=0))
    if at_least_one:
        wanted = _raise_small_shares(wanted, table)
    order = epoch_order(n_groups, seed=seed, epoch=0)
    parts = _share_out(table[order].tolist(), wanted.tolist())
    assigned = np.empty(n_groups, dtype=np.int64)
    assigned[order] = parts
    return _fill_empty_parts(assigned, table[:, -1], len(fractions))


def _raise_small_shares(wanted: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Let no part's share of a class be less than a typical group; the largest part
    pays for it.
    """
    wanted = wanted.copy()
    groups_with = (table > 0).sum(axis=0)
    largest = int(wanted[:, -1].argmax())
    for column in np.flatnonzero(groups_with >= len(wanted)):
        typical = np.median(table[table[:, column] > 0, column])
        raised = np.maximum(wanted[:, column], typical)
        raised[largest] -= raised.sum() - wanted[:, column].sum()
        if raised[largest] >= typical:
            wanted[:, column] = raised
    return wanted


def _share_out(table: list[list[int]], wanted: list[list[float]]) -> list[int]:
    """Give out groups class by class, always the class of which the fewest records are
    left.
    """
    parts = [-1] * len(table)
    left = [list(share) for share in wanted]
    n_classes = len(table[0]) - 1
    remaining = [sum(row[column] for row in table) for column in range(n_classes)]
    members = [
        [group for group, row in enumerate(table) if row[column]]
        for column in range(n_classes)
    ]
    while open_classes := [
        column for column in range(n_classes) if remaining[column] > 0
    ]:
        rarest = min(open_classes, key=lambda column: remaining[column])
        waiting = [group for group in members[rarest] if parts[group] < 0]
        # Large groups first: small ones fill what is left.
        for group in sorted(waiting, key=lambda group: -table[group][rarest]):
            parts[group] = part = _choose_part(table[group], rarest, left, wanted)
            for column, count in enumerate(table[group]):
                left[part][column] -= count
            for column in range(n_classes):
                remaining[column] -= table[group][column]
    return parts


def _choose_part(
    group: list[int], column: int, left: list[list[float]], wanted: list[list[float]]
) -> int:
    """Choose the part that lacks most of the class, relative to its share, among those
    in which the group has room.

    Relative, so that all parts fill at the same pace and get the same mixture of large
    and small groups.
    """
    room = [
        part
        for part in range(len(left))
        if left[part][column] >= group[column] and wanted[part][column] > 0
    ]
    if not room:
        return max(
            range(len(left)),
            key=lambda part: (left[part][column] - group[column], left[part][-1]),
        )
    return max(
        room,
        key=lambda part: (
            left[part][column] / wanted[part][column],
            left[part][-1] / wanted[part][-1],
        ),
    )


def _fill_empty_parts(
    assigned: np.ndarray, sizes: np.ndarray, n_parts: int
) -> np.ndarray:
    """Move the smallest group of the part with most groups into each empty part."""
    for part in range(n_parts):
        if (assigned == part).any():
            continue
        crowded = int(np.bincount(assigned, minlength=n_parts).argmax())
        candidates = np.flatnonzero(assigned == crowded)
        if len(candidates) > 1:
            assigned[candidates[np.argmin(sizes[candidates])]] = part
    return assigned
