"""Decision thresholds: choose them on validation records by a criterion, apply them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ecgnb.core.errors import ConfigError
from ecgnb.evaluation.arrays import check_inputs, check_scores, check_task

#: What thresholds are chosen for.
CRITERIA = ("macro_f1", "micro_f1", "exact_match", "youden")
#: Threshold of a class without a positive among the validation records.
DEFAULT_THRESHOLD = 0.5


def choose_thresholds(
    targets: Any, probabilities: Any, task: str, criterion: str = "macro_f1"
) -> np.ndarray | None:
    """Choose the threshold of each class on these records.

    Give validation records, never those that the result is reported on, and the
    probabilities after calibration. All ways to cut the sorted probabilities of a class
    are tried. A threshold is half-way between the two probabilities that it separates;
    of equally good ones the nearest to 0.5 is taken, then the higher.

    Criteria: ``"macro_f1"`` is the best F1 of each class, ``"youden"`` the best sum of
    sensitivity and specificity of each class (Youden 1950), ``"micro_f1"`` the best F1
    of all decisions together, ``"exact_match"`` the most records that are right in
    every class. The first three are exact; the last is improved class by class from the
    best of the others, so that it is never below them.

    Args:
        targets: 0/1 ``[n, n_classes]``, or int ``[n]`` for multi-class tasks.
        probabilities: ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.
        criterion: one of `CRITERIA`.

    Returns:
        float64 ``[n_classes]``; ``None`` for multi-class tasks, whose decision is the
        most probable class. With the criteria of single classes a class without a
        positive (for Youden's, or without a negative) has 0.5.

    Raises:
        ConfigError: the task or the criterion is unknown.
        EcgnbError: arrays are empty, not finite or of shapes that do not fit.

    >>> probabilities = [[0.1], [0.2], [0.4], [0.9]]
    >>> choose_thresholds([[0], [0], [1], [1]], probabilities, "multilabel").round(3)
    array([0.3])
    """
    inputs = check_inputs(targets, probabilities, None, task)
    if criterion not in CRITERIA:
        raise ConfigError(
            f"The criterion is {criterion!r}; choose one of {', '.join(CRITERIA)}."
        )
    if task == "multiclass":
        return None
    columns = zip(inputs.truth.T, inputs.probabilities.T, strict=True)
    cuts = [Cuts(*column) for column in columns]
    if criterion == "micro_f1":
        return _best_micro_f1(cuts)
    if criterion == "exact_match":
        return _best_exact_match(cuts, inputs.truth, inputs.probabilities)
    choose = _best_f1 if criterion == "macro_f1" else _best_youden
    return np.array([choose(cut) for cut in cuts])


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


class Cuts:
    """All ways to cut the sorted probabilities of one class.

    Args:
        truth: bool ``[n]``.
        scores: probabilities ``[n]``.

    Attributes:
        order: int ``[n]``, records from high to low probability.
        called: int ``[n_cuts]``, records above each cut, rising from 0.
        hits: int ``[n_cuts]``, positives among them.
        thresholds: float ``[n_cuts]``, falling.
        n_positive: positives.
    """

    def __init__(self, truth: np.ndarray, scores: np.ndarray) -> None:
        self.order = np.argsort(-scores, kind="stable")
        falling = scores[self.order]
        # Tied records are called together: a cut is possible only after the last.
        last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
        self.called = np.append(0, last + 1)
        self.hits = np.append(0, np.cumsum(truth[self.order])[last])
        # Above all probabilities: 0.5 where that calls none, else half-way to 1.
        none = (falling[0] + 1) / 2 if falling[0] >= DEFAULT_THRESHOLD else 0.5
        self.thresholds = np.append(none, _midpoints(falling[last]))
        if falling[0] == 1:  # a probability of 1 is called by any threshold
            self.called, self.hits = self.called[1:], self.hits[1:]
            self.thresholds = self.thresholds[1:]
        self.n_positive = int(truth.sum())

    def best(self, gain: np.ndarray) -> int:
        """Return the cut of the largest gain ``[n_cuts]``; of equal ones that whose
        threshold is nearest to 0.5, then the highest.
        """
        largest = gain.max()
        equal = np.flatnonzero(gain >= largest - 1e-12 * max(1.0, abs(largest)))
        distance = np.abs(self.thresholds[equal] - DEFAULT_THRESHOLD)
        # lexsort takes its last key first.
        return int(equal[np.lexsort((-self.thresholds[equal], distance))[0]])


def _best_f1(cuts: Cuts) -> float:
    if cuts.n_positive == 0:
        return DEFAULT_THRESHOLD
    f1 = 2 * cuts.hits / (cuts.called + cuts.n_positive)
    return float(cuts.thresholds[cuts.best(f1)])


def _best_youden(cuts: Cuts) -> float:
    n_negative = len(cuts.order) - cuts.n_positive
    if cuts.n_positive == 0 or n_negative == 0:
        return DEFAULT_THRESHOLD
    false_alarms = cuts.called - cuts.hits
    index = cuts.hits / cuts.n_positive - false_alarms / n_negative
    return float(cuts.thresholds[cuts.best(index)])


def _best_micro_f1(classes: list[Cuts]) -> np.ndarray:
    """Return the thresholds of the highest micro F1.

    Micro F1 is a ratio of two sums over the classes. For the highest ratio F, the best
    cuts maximise numerator - F * denominator (Dinkelbach 1967, "On nonlinear fractional
    programming"), which each class does by itself; F rises to it in a few rounds.
    """
    n_positive = sum(cuts.n_positive for cuts in classes)
    best, score = [], -1.0
    following = 0.0
    while following > score:
        score = following
        best = [cuts.best(2 * cuts.hits - score * cuts.called) for cuts in classes]
        pairs = list(zip(classes, best, strict=True))
        hits = sum(int(cuts.hits[cut]) for cuts, cut in pairs)
        called = sum(int(cuts.called[cut]) for cuts, cut in pairs)
        following = 2 * hits / max(1, called + n_positive)
    return np.array(
        [cuts.thresholds[cut] for cuts, cut in zip(classes, best, strict=True)]
    )


def _best_exact_match(
    classes: list[Cuts], truth: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """Return thresholds that no change of a single class improves, starting from the
    best of 0.5 and the other criteria.
    """
    starts = [
        np.full(len(classes), DEFAULT_THRESHOLD),
        _best_micro_f1(classes),
        np.array([_best_f1(cuts) for cuts in classes]),
        np.array([_best_youden(cuts) for cuts in classes]),
    ]
    matches = [((scores >= start) == truth).all(axis=1).sum() for start in starts]
    limits = starts[int(np.argmax(matches))]
    n_matches, improved = max(matches), True
    right = (scores >= limits) == truth
    while improved:
        improved = False
        for number, cuts in enumerate(classes):
            others_right = np.delete(right, number, axis=1).all(axis=1)[cuts.order]
            positive = truth[cuts.order, number]
            # Called positives and uncalled negatives among records that are otherwise
            # right, for each number of called records.
            gained = np.cumsum(np.where(positive, 1, -1) * others_right)
            gain = np.append(0, gained)[cuts.called]
            total = gain + np.sum(others_right & ~positive)
            if total.max() > n_matches:
                cut = cuts.best(total)
                limits[number] = cuts.thresholds[cut]
                n_matches, improved = total[cut], True
                called = scores[:, number] >= limits[number]
                right[:, number] = called == truth[:, number]
    return limits


def _midpoints(falling: np.ndarray) -> np.ndarray:
    """Return a threshold between each probability and the next lower one (0 after the
    last).
    """
    following = np.append(falling[1:], 0.0)
    middle = (falling + following) / 2
    # Between two neighbouring floats there is no middle; since a probability equal to
    # the threshold is a call, the upper one separates them.
    return np.where(middle > following, middle, falling)
