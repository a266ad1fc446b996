"""Decision thresholds: choose them on validation records, apply them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ecgnb.core.errors import ConfigError
from ecgnb.evaluation.arrays import check_inputs, check_scores, check_task
from ecgnb.evaluation.ranking import ratio

#: Threshold of a class without a positive among the validation records.
DEFAULT_THRESHOLD = 0.5


def choose_thresholds(
    targets: Any, probabilities: Any, task: str, metric: str = "f1"
) -> np.ndarray | None:
    """Choose the best threshold of each class on these records.

    Give validation records, never those that the result is reported on, and the
    probabilities after calibration. The search is exact: all ways to cut the sorted
    probabilities are tried. A threshold is half-way between the two probabilities that
    it separates; of equally good ones the nearest to 0.5 is taken, then the higher.

    Args:
        targets: 0/1 ``[n, n_classes]``, or int ``[n]`` for multi-class tasks.
        probabilities: ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.
        metric: ``"f1"``, or ``"balanced_accuracy"`` (mean of sensitivity and
            specificity: Youden's index).

    Returns:
        float64 ``[n_classes]``, 0.5 for a class without a positive (or for which the
        metric is undefined); ``None`` for multi-class tasks, whose decision is the most
        probable class.

    Raises:
        ConfigError: the metric or the task is unknown.
        EcgnbError: arrays are empty, not finite or of shapes that do not fit.

    >>> probabilities = [[0.1], [0.2], [0.4], [0.9]]
    >>> choose_thresholds([[0], [0], [1], [1]], probabilities, "multilabel").round(3)
    array([0.3])
    """
    if metric not in _METRICS:
        names = " or ".join(map(repr, _METRICS))
        raise ConfigError(f"Thresholds cannot be chosen by {metric!r}; give {names}.")
    inputs = check_inputs(targets, probabilities, None, task)
    if task == "multiclass":
        return None
    thresholds = []
    for truth, scores in zip(inputs.truth.T, inputs.probabilities.T, strict=True):
        thresholds.append(_best_threshold(truth, scores, _METRICS[metric]))
    return np.array(thresholds)


def decide(probabilities: Any, task: str, thresholds: Any = None) -> np.ndarray:
    """Turn probabilities into decisions.

    Args:
        probabilities: ``[n, n_classes]``.
        task: ``"multiclass"`` (most probable class, the first of equal ones) or
            ``"multilabel"``.
        thresholds: ``[n_classes]`` for multi-label tasks; a class is called when its
            probability is at least its threshold. ``None`` takes 0.5. Multi-class tasks
            have none.

    Returns:
        int64 ``[n]`` class numbers, or int64 0/1 ``[n, n_classes]``.

    Raises:
        ConfigError: the thresholds do not fit the task or the number of classes.
        EcgnbError: the probabilities are not finite or not ``[n, n_classes]``.
    """
    check_task(task)
    scores = check_scores(probabilities)
    limits = check_thresholds(thresholds, scores.shape[1], task)
    if limits is None:
        return scores.argmax(axis=1)
    return (scores >= limits).astype(np.int64)


def check_thresholds(thresholds: Any, n_classes: int, task: str) -> np.ndarray | None:
    """Return the thresholds in use, float64 ``[n_classes]``; ``None`` for multi-class
    tasks.

    Raises:
        ConfigError: there are thresholds for a multi-class task, or their number or
            values are wrong.
    """
    empty = thresholds is None or np.size(thresholds) == 0
    if task == "multiclass":
        if not empty:
            raise ConfigError(
                "A multi-class task decides for the most probable class; give no "
                "thresholds."
            )
        return None
    if empty:
        return np.full(n_classes, DEFAULT_THRESHOLD)
    limits = np.asarray(thresholds, dtype=np.float64)
    if limits.shape != (n_classes,) or not np.isfinite(limits).all():
        raise ConfigError(
            f"One finite threshold for each of the {n_classes} classes is required, "
            f"not {limits.tolist()}."
        )
    return limits


#: From hits and calls (one per threshold), and the numbers of positives and of records.
Metric = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]


def _f1(hits: np.ndarray, called: np.ndarray, n_positive: int, n: int) -> np.ndarray:
    return ratio(2 * hits, called + n_positive)


def _balanced_accuracy(
    hits: np.ndarray, called: np.ndarray, n_positive: int, n: int
) -> np.ndarray:
    n_negative = np.asarray(n - n_positive)
    sensitivity = ratio(hits, np.asarray(n_positive))
    specificity = ratio(n_negative - called + hits, n_negative)
    return (sensitivity + specificity) / 2


_METRICS: dict[str, Metric] = {"f1": _f1, "balanced_accuracy": _balanced_accuracy}


def _best_threshold(truth: np.ndarray, scores: np.ndarray, metric: Metric) -> float:
    n_positive = int(truth.sum())
    if n_positive == 0:
        return DEFAULT_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    last_of_ties = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    hits = np.cumsum(truth[order])[last_of_ties]
    values = metric(hits, last_of_ties + 1, n_positive, len(truth))
    if np.isnan(values).all():
        return DEFAULT_THRESHOLD
    best = _midpoints(falling[last_of_ties])[values == np.nanmax(values)]
    # lexsort takes its last key first: distance from 0.5, then the higher threshold.
    return float(best[np.lexsort((-best, np.abs(best - DEFAULT_THRESHOLD)))[0]])


def _midpoints(falling: np.ndarray) -> np.ndarray:
    """Return a threshold between each probability and the next lower one (0 after the
    last).
    """
    following = np.append(falling[1:], 0.0)
    middle = (falling + following) / 2
    # Between two neighbouring floats there is no middle; since a probability equal to
    # the threshold is a call, the upper one separates them.
    return np.where(middle > following, middle, falling)
