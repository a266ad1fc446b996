"""Decision thresholds: choose them on validation records, apply them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ecgnb.core.errors import ConfigError
from ecgnb.evaluation.arrays import check_inputs, check_scores, check_task

#: Threshold of a class without a positive among the validation records.
DEFAULT_THRESHOLD = 0.5


def choose_thresholds(targets: Any, probabilities: Any, task: str) -> np.ndarray | None:
    """Choose the threshold of each class with the best F1 on these records.

    Give validation records, never those that the result is reported on, and the
    probabilities after calibration. The search is exact: all ways to cut the sorted
    probabilities are tried. A threshold is half-way between the two probabilities that
    it separates; of equally good ones the nearest to 0.5 is taken, then the higher.

    Args:
        targets: 0/1 ``[n, n_classes]``, or int ``[n]`` for multi-class tasks.
        probabilities: ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.

    Returns:
        float64 ``[n_classes]``, 0.5 for a class without a positive; ``None`` for
        multi-class tasks, whose decision is the most probable class.

    Raises:
        ConfigError: the task is unknown.
        EcgnbError: arrays are empty, not finite or of shapes that do not fit.

    >>> probabilities = [[0.1], [0.2], [0.4], [0.9]]
    >>> choose_thresholds([[0], [0], [1], [1]], probabilities, "multilabel").round(3)
    array([0.3])
    """
    inputs = check_inputs(targets, probabilities, None, task)
    if task == "multiclass":
        return None
    columns = zip(inputs.truth.T, inputs.probabilities.T, strict=True)
    return np.array([_best_threshold(*column) for column in columns])


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


def _best_threshold(truth: np.ndarray, scores: np.ndarray) -> float:
    n_positive = truth.sum()
    if n_positive == 0:
        return DEFAULT_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    # Tied records are called together: a cut is possible only after the last of them.
    cuts = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    hits = np.cumsum(truth[order])[cuts]
    called = cuts + 1
    f1 = 2 * hits / (called + n_positive)
    best = _midpoints(falling[cuts])[f1 == f1.max()]
    # lexsort takes its last key first: distance from 0.5, then the higher threshold.
    ranking = np.lexsort((-best, np.abs(best - DEFAULT_THRESHOLD)))
    return float(best[ranking[0]])


def _midpoints(falling: np.ndarray) -> np.ndarray:
    """Return a threshold between each probability and the next lower one (0 after the
    last).
    """
    following = np.append(falling[1:], 0.0)
    middle = (falling + following) / 2
    # Between two neighbouring floats there is no middle; since a probability equal to
    # the threshold is a call, the upper one separates them.
    return np.where(middle > following, middle, falling)
