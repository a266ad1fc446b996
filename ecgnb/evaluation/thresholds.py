"""From probabilities to decisions, with thresholds that validation data chose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ecgnb.core.errors import ConfigError
from ecgnb.core.registry import nearest
from ecgnb.evaluation.arrays import check_inputs, check_scores, check_task
from ecgnb.evaluation.ranking import ratio

#: Threshold of a class about which validation says nothing.
DEFAULT_THRESHOLD = 0.5


def choose_thresholds(
    targets: Any, probabilities: Any, task: str, metric: str = "f1"
) -> np.ndarray | None:
    """Choose the threshold of each class that is best on these records.

    Give validation records, never those that the result is reported on, and the
    probabilities after calibration. The search is exact: all ways to cut the sorted
    probabilities are tried. A threshold lies half-way between the two probabilities
    that it separates; among equally good ones the one nearest to 0.5 is taken, then the
    higher.

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

    >>> choose_thresholds([[0], [0], [1], [1]], [[0.1], [0.2], [0.4], [0.9]], "multilabel").round(3).tolist()
    [0.3]
    """
    score = _metric(metric)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    names = [
        str(k) for k in range(probabilities.shape[-1] if probabilities.ndim else 0)
    ]
    inputs = check_inputs(targets, probabilities, names, task)
    if task == "multiclass":
        return None
    columns = zip(inputs.truth.T, inputs.probabilities.T, strict=True)
    return np.array(
        [_best_threshold(truth, scores, score) for truth, scores in columns]
    )


def decide(probabilities: Any, task: str, thresholds: Any = None) -> np.ndarray:
    """Turn probabilities into decisions.

    Args:
        probabilities: ``[n, n_classes]``.
        task: ``"multiclass"`` (most probable class, the first of equal ones) or
            ``"multilabel"``.
        thresholds: ``[n_classes]`` for multi-label tasks; a class is called when its
            probability reaches its threshold. ``None`` takes 0.5. Multi-class tasks
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
    return (
        scores.argmax(axis=1) if limits is None else (scores >= limits).astype(np.int64)
    )


def check_thresholds(thresholds: Any, n_classes: int, task: str) -> np.ndarray | None:
    """Return the thresholds in use, float64 ``[n_classes]``; ``None`` for multi-class
    tasks.

    Raises:
        ConfigError: a multi-class task was given thresholds, or their number or values
            are wrong.
    """
    given = thresholds is not None and np.size(thresholds) > 0
    if task == "multiclass":
        if given:
            raise ConfigError(
                "A multi-class task decides for the most probable class; give no thresholds."
            )
        return None
    if not given:
        return np.full(n_classes, DEFAULT_THRESHOLD)
    limits = np.asarray(thresholds, dtype=np.float64)
    if limits.shape != (n_classes,) or not np.isfinite(limits).all():
        raise ConfigError(
            f"One finite threshold for each of the {n_classes} classes is needed, not {limits.tolist()}."
        )
    return limits


Metric = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]


def _f1(hits: np.ndarray, called: np.ndarray, n_positive: int, n: int) -> np.ndarray:
    return ratio(2 * hits, called + n_positive)


def _balanced_accuracy(
    hits: np.ndarray, called: np.ndarray, n_positive: int, n: int
) -> np.ndarray:
    n_negative = np.asarray(n - n_positive)
    return (
        ratio(hits, np.asarray(n_positive))
        + ratio(n_negative - called + hits, n_negative)
    ) / 2


_METRICS: dict[str, Metric] = {"f1": _f1, "balanced_accuracy": _balanced_accuracy}


def _metric(name: str) -> Metric:
    if name not in _METRICS:
        near = nearest(str(name), list(_METRICS)) or list(_METRICS)
        raise ConfigError(
            f"Thresholds cannot be chosen by {name!r}; give {' or '.join(map(repr, near))}."
        )
    return _METRICS[name]


def _best_threshold(truth: np.ndarray, scores: np.ndarray, metric: Metric) -> float:
    n_positive = int(truth.sum())
    if n_positive == 0:
        return DEFAULT_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(
        np.append(ordered[1:] != ordered[:-1], True)
    )  # last record of each group of ties
    values = metric(np.cumsum(truth[order])[last], last + 1, n_positive, len(truth))
    if np.isnan(values).all():
        return DEFAULT_THRESHOLD
    cuts = _midpoints(ordered[last])[values == np.nanmax(values)]
    # lexsort takes its last key first: distance from 0.5, then the higher threshold.
    return float(cuts[np.lexsort((-cuts, np.abs(cuts - DEFAULT_THRESHOLD)))[0]])


def _midpoints(called: np.ndarray) -> np.ndarray:
    """Return a threshold under each of the falling probabilities and above the next one
    (above 0 under the last).
    """
    following = np.append(called[1:], 0.0)
    middle = (called + following) / 2
    # Between two neighbouring floats there is no middle; the decision is "reaches", so
    # the upper one separates them.
    return np.where(middle > following, middle, called)
