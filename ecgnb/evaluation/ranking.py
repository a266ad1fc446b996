"""Area under the ROC curve and average precision, for many resamples of the same
records at once.

A resample is told by how often each record was drawn. The order of the scores does not
change from one resample to the next, so each class is sorted once; what remains is sums
of counts over stretches of the sorted records, which one sparse product makes for all
resamples together. Tied scores are counted exactly: everything before the last division
is an integer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ecgnb.core.errors import EcgnbError
from ecgnb.evaluation.arrays import check_scores, one_hot


class RankedClass:
    """The scores of one class, sorted once.

    Only the groups of tied scores that hold a positive matter. Sorted from low to high,
    the records fall into stretches: below the first such group, the group itself,
    between it and the next, and so on. ``stretches`` sums the counts in each of them,
    ``positives`` the counts of the positives in each group.

    Args:
        truth: bool ``[n]``.
        scores: float ``[n]``, finite.
    """

    def __init__(self, truth: np.ndarray, scores: np.ndarray) -> None:
        n = len(scores)
        order = np.argsort(scores, kind="stable").astype(np.int32)
        ordered = scores[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        ends = np.append(starts[1:], n)
        group_of = np.repeat(np.arange(len(starts)), ends - starts)
        positive = truth[order]
        groups, sizes = np.unique(group_of[positive], return_counts=True)
        borders = np.zeros(2 * len(groups) + 2, dtype=np.int32)
        borders[1:-1:2], borders[2:-1:2], borders[-1] = starts[groups], ends[groups], n
        self.stretches = _sums(order, borders, n)
        self.positives = _sums(
            order[positive], np.concatenate([[0], np.cumsum(sizes)]), n
        )

    def areas(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return AUROC and average precision of each resample.

        Args:
            counts: float64 ``[n, n_resamples]``, how often each record was drawn.

        Returns:
            AUROC ``[n_resamples]``, NaN where positives or negatives are missing
            (Mann-Whitney U over the number of pairs, ties count half), and average
            precision ``[n_resamples]``, NaN where positives are missing (sum over
            thresholds of the gain in recall times precision, without interpolation).
        """
        stretches, hits = self.stretches @ counts, self.positives @ counts
        total, n_positive = counts.sum(axis=0), hits.sum(axis=0)
        reached = np.cumsum(stretches, axis=0)
        below, upto = (
            reached[0:-1:2],
            reached[1::2],
        )  # counts under each group, and with it
        hits_upto = np.cumsum(hits, axis=0)
        # Twice the pairs won, so that half wins stay integers: negatives under the
        # group, and under or in it.
        won = (hits * (below + upto - 2 * hits_upto + hits)).sum(axis=0)
        auroc = ratio(won, 2 * n_positive * (total - n_positive))
        recalled = n_positive - hits_upto + hits
        precision = ratio(recalled, total - below, undefined=0.0)
        return auroc, ratio((hits * precision).sum(axis=0), n_positive)


def _sums(records: np.ndarray, borders: np.ndarray, n: int) -> csr_array:
    """Return the matrix whose row ``k`` sums the counts of
    ``records[borders[k]:borders[k + 1]]``.
    """
    ones = np.ones(len(records))
    return csr_array(
        (ones, records.astype(np.int32), borders.astype(np.int32)),
        shape=(len(borders) - 1, n),
    )


def ratio(
    numerator: np.ndarray, denominator: np.ndarray, undefined: float = np.nan
) -> np.ndarray:
    """Divide element by element; where the denominator is 0 the result is
    ``undefined``.
    """
    result = np.full(
        np.broadcast_shapes(np.shape(numerator), np.shape(denominator)),
        undefined,
        dtype=np.float64,
    )
    return np.divide(
        numerator, denominator, out=result, where=np.asarray(denominator) != 0
    )


def mean_defined(values: np.ndarray) -> np.ndarray:
    """Average over the first axis, leaving NaN out; NaN where nothing is left.

    Args:
        values: ``[n_classes, ...]``.

    Returns:
        ``[...]``.
    """
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0))


def class_areas(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROC and average precision of each class.

    Args:
        truth: bool ``[n, n_classes]``.
        scores: float ``[n, n_classes]``, finite.

    Returns:
        Two arrays ``[n_classes]``; NaN where a class lacks the outcomes that the number
        needs.
    """
    once = np.ones((len(truth), 1))
    pairs = [
        RankedClass(truth[:, k], scores[:, k]).areas(once)
        for k in range(truth.shape[1])
    ]
    return np.array([pair[0][0] for pair in pairs]), np.array(
        [pair[1][0] for pair in pairs]
    )


def macro_auroc(targets: Any, scores: Any) -> float:
    """Return the mean AUROC over the classes that have both outcomes, the number of the
    PTB-XL benchmark.

    The benchmark (Strodthoff et al. 2021, "Deep learning for ECG analysis: benchmarks
    and insights from PTB-XL") averages over all classes and only ever meets test sets
    and resamples that hold each class. Where all classes have both outcomes this number
    is that one; a class without both has no AUROC and is left out.

    Args:
        targets: int ``[n]`` class numbers (each class against the rest) or 0/1 ``[n,
            n_classes]``.
        scores: ``[n, n_classes]``, probabilities or logits: only their order within a
            class counts.

    Returns:
        A number between 0 and 1; NaN when no class has both outcomes.

    Raises:
        EcgnbError: shapes disagree or scores are not finite.
        LabelError: a target is not a class number or not 0 or 1.

    >>> macro_auroc([[0, 1], [1, 0], [1, 1]], [[0.1, 0.9], [0.8, 0.3], [0.6, 0.2]])
    0.75
    """
    if np.shape(scores)[:1] != np.shape(targets)[:1]:
        raise EcgnbError(
            f"There are targets of shape {np.shape(targets)} for scores of shape {np.shape(scores)}."
        )
    checked = check_scores(scores, "scores")
    task = "multilabel" if np.ndim(targets) == 2 else "multiclass"
    auroc, _ = class_areas(one_hot(targets, checked.shape, task), checked)
    return float(mean_defined(auroc))
