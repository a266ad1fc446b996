"""Ranking metrics: area under the ROC curve and average precision, for many bootstrap
resamples at once.

A resample is a vector of counts: how often each record was drawn. The order of the
scores is the same in all resamples, so each class is sorted once; the rest are sums of
counts over stretches of the sorted records, one sparse product for all resamples
together. Tied scores are counted exactly: everything before the last division is an
integer. 1,000 resamples of 2,200 records and 71 classes take 0.4 s this way, minutes
with one scikit-learn call per resample and class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ecgnb.core.errors import EcgnbError
from ecgnb.evaluation.arrays import check_scores, one_hot


class RankedClass:
    """The scores of one class, sorted once.

    Only groups of tied scores that contain a positive matter. Sorted from low to high,
    the records fall into stretches: below the first such group, the group itself,
    between it and the next, and so on.

    Args:
        truth: bool ``[n]``.
        scores: float ``[n]``, finite.

    Attributes:
        stretches: sparse ``[2 * n_groups + 1, n]``, sums the counts in each stretch.
        positives: sparse ``[n_groups, n]``, sums the counts of each group's positives.
    """

    def __init__(self, truth: np.ndarray, scores: np.ndarray) -> None:
        n = len(scores)
        order = np.argsort(scores, kind="stable").astype(np.int32)
        rising = scores[order]
        positive = truth[order]
        # One group of tied scores per score that a positive has.
        values, n_positives = np.unique(rising[positive], return_counts=True)
        starts = np.searchsorted(rising, values, side="left")
        stops = np.searchsorted(rising, values, side="right")
        inner_borders = np.stack([starts, stops], axis=1).ravel()
        borders = np.concatenate([[0], inner_borders, [n]])
        self.stretches = _summing_matrix(order, borders, n)
        positive_borders = np.append(0, np.cumsum(n_positives))
        self.positives = _summing_matrix(order[positive], positive_borders, n)

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
        hits = self.positives @ counts  # [n_groups, n_resamples]
        hits_up_to = np.cumsum(hits, axis=0)  # in this group or below
        hits_below = hits_up_to - hits
        cumulated = np.cumsum(self.stretches @ counts, axis=0)
        below = cumulated[0:-1:2]  # records below each group
        up_to = cumulated[1::2]  # with the group itself
        n_records = counts.sum(axis=0)
        n_positive = hits.sum(axis=0)
        n_pairs = n_positive * (n_records - n_positive)
        # Twice the negatives that a positive wins against, so that ties, which count
        # half, are integers: those below its group, plus those below or in it.
        twice_beaten = (below - hits_below) + (up_to - hits_up_to)
        auroc = ratio((hits * twice_beaten).sum(axis=0), 2 * n_pairs)
        # With the threshold at a group's score, this group and all above it are called.
        precision = ratio(n_positive - hits_below, n_records - below, undefined=0.0)
        average_precision = ratio((hits * precision).sum(axis=0), n_positive)
        return auroc, average_precision


def _summing_matrix(records: np.ndarray, borders: np.ndarray, n: int) -> csr_array:
    """Return sparse ``[n_rows, n]``: row ``k`` has ones at
    ``records[borders[k]:borders[k + 1]]``.
    """
    ones = np.ones(len(records))
    rows = (ones, records, borders.astype(np.int32))  # data, indices, row pointers
    return csr_array(rows, shape=(len(borders) - 1, n))


def ratio(
    numerator: np.ndarray, denominator: np.ndarray, undefined: float = np.nan
) -> np.ndarray:
    """Divide elementwise; ``undefined`` where the denominator is 0."""
    result = np.full(np.broadcast(numerator, denominator).shape, undefined)
    return np.divide(numerator, denominator, out=result, where=denominator != 0)


def mean_defined(values: np.ndarray) -> np.ndarray:
    """Average ``[n_classes, ...]`` over classes, leaving out NaN; NaN where all are."""
    n_defined = np.sum(~np.isnan(values), axis=0)
    return ratio(np.nansum(values, axis=0), n_defined)


def class_areas(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROC and average precision of each class.

    Args:
        truth: bool ``[n, n_classes]``.
        scores: float ``[n, n_classes]``, finite.

    Returns:
        Two arrays ``[n_classes]``; NaN where a class lacks the outcomes that the number
        requires.
    """
    once = np.ones((len(truth), 1))
    columns = zip(truth.T, scores.T, strict=True)
    areas = [RankedClass(*column).areas(once) for column in columns]
    auroc, average_precision = np.concatenate(areas, axis=1)
    return auroc, average_precision


def macro_auroc(targets: Any, scores: Any) -> float:
    """Return the mean AUROC over the classes that have both outcomes.

    The PTB-XL benchmark (Strodthoff et al. 2021, "Deep learning for ECG analysis:
    benchmarks and insights from PTB-XL") averages over all classes; its test sets and
    resamples contain both outcomes of each class, and then the numbers are equal.

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
            f"There are targets of shape {np.shape(targets)} for scores of shape "
            f"{np.shape(scores)}. Give both for the same records."
        )
    checked = check_scores(scores, "scores")
    task = "multilabel" if np.ndim(targets) == 2 else "multiclass"
    auroc, _ = class_areas(one_hot(targets, checked.shape, task), checked)
    return float(mean_defined(auroc))
