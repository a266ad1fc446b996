"""Every number of the evaluation as a function of how often each record counts.

Counted once each, the records give the result; counted as a bootstrap drew them, they
give one resample. Both come from the same lines, so an interval can never belong to
another definition than its number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array, vstack

from ecgnb.evaluation.arrays import Inputs
from ecgnb.evaluation.calibration import calibration_error, squared_errors
from ecgnb.evaluation.ranking import RankedClass, mean_defined, ratio
from ecgnb.evaluation.thresholds import check_thresholds, decide

_SHARED = (
    "macro_auroc",
    "macro_average_precision",
    "macro_f1",
    "weighted_f1",
    "micro_f1",
    "balanced_accuracy",
)
_HEADLINE = {
    "multiclass": (*_SHARED, "accuracy", "brier", "ece"),
    "multilabel": (*_SHARED, "f_max", "exact_match", "hamming_loss", "brier", "ece"),
}
#: Thresholds of F-max, the grid of the CAFA assessments.
F_MAX_GRID = np.arange(101) / 100


class Scorer:
    """All numbers of one set of predictions, ready to be counted in many ways.

    ``counts`` is always float64 ``[n, n_resamples]``: how often each record was drawn.
    A number that a resample does not define is NaN there.

    Args:
        inputs: checked arrays.
        thresholds: ``[n_classes]`` for multi-label tasks, ``None`` for 0.5.

    Attributes:
        decided: bool ``[n, n_classes]``, the decisions (one-hot for multi-class tasks).
    """

    def __init__(self, inputs: Inputs, thresholds: Any = None) -> None:
        self.inputs = inputs
        self.thresholds = check_thresholds(thresholds, len(inputs.classes), inputs.task)
        self.decided = _decided(inputs, thresholds)
        truth = inputs.truth
        self._ranked = [
            RankedClass(truth[:, k], inputs.probabilities[:, k])
            for k in range(truth.shape[1])
        ]
        self._called, self._hits = (
            _transposed(self.decided),
            _transposed(self.decided & truth),
        )
        self._support = _transposed(truth)
        self._squared_errors = squared_errors(inputs)
        self._calibration_error = calibration_error(inputs)
        self._f_max = (
            FMax(truth, inputs.probabilities) if inputs.task == "multilabel" else None
        )

    def per_class(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Return the numbers of each class, each ``[n_classes, n_resamples]``.

        What has no denominator is undefined, not 0: precision without a call, recall
        without a positive, F1 without either.
        """
        areas = [ranked.areas(counts) for ranked in self._ranked]
        support, called, hits = (
            self._support @ counts,
            self._called @ counts,
            self._hits @ counts,
        )
        negatives = counts.sum(axis=0) - support
        return {
            "support": support,
            "called": called,
            "hits": hits,
            "precision": ratio(hits, called),
            "recall": ratio(hits, support),
            "specificity": ratio(negatives - called + hits, negatives),
            "f1": ratio(2 * hits, support + called),
            "auroc": np.stack([auroc for auroc, _ in areas]),
            "average_precision": np.stack([precision for _, precision in areas]),
        }

    def headline(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Return the headline numbers, each ``[n_resamples]``, in the order of
        `headline_metrics`.
        """
        each = self.per_class(counts)
        support, total = each["support"], counts.sum(axis=0)
        weighted = (support * np.nan_to_num(each["f1"])).sum(axis=0)
        numbers = {
            "macro_auroc": mean_defined(each["auroc"]),
            "macro_average_precision": mean_defined(each["average_precision"]),
            "macro_f1": mean_defined(each["f1"]),
            "weighted_f1": ratio(weighted, support.sum(axis=0)),
            "micro_f1": ratio(
                2 * each["hits"].sum(axis=0), (support + each["called"]).sum(axis=0)
            ),
            "brier": self._squared_errors @ counts / total,
            "ece": self._calibration_error(counts),
            **(
                self._multilabel(each, counts)
                if self._f_max
                else self._multiclass(each, total)
            ),
        }
        return {name: numbers[name] for name in headline_metrics(self.inputs.task)}

    def _multiclass(
        self, each: dict[str, np.ndarray], total: np.ndarray
    ) -> dict[str, np.ndarray]:
        return {
            "balanced_accuracy": mean_defined(each["recall"]),
            "accuracy": each["hits"].sum(axis=0) / total,
        }

    def _multilabel(
        self, each: dict[str, np.ndarray], counts: np.ndarray
    ) -> dict[str, np.ndarray]:
        wrong = (self.decided != self.inputs.truth).mean(axis=1)
        total = counts.sum(axis=0)
        assert self._f_max is not None
        return {
            "balanced_accuracy": mean_defined(
                (each["recall"] + each["specificity"]) / 2
            ),
            "f_max": self._f_max(counts),
            "exact_match": (wrong == 0).astype(np.float64) @ counts / total,
            "hamming_loss": wrong @ counts / total,
        }


class FMax:
    """Sample-centric F-max: the best harmonic mean of mean precision and mean recall
    over one common threshold.

    At each threshold precision is averaged over the records that have a call, recall
    over the records that have a label (Radivojac et al. 2013, "A large-scale evaluation
    of computational protein function prediction", Nature Methods; for the ECG in
    Strodthoff et al. 2021). The thresholds are 0, 0.01, ..., 1 and a probability calls
    when it reaches them.

    Args:
        truth: bool ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
    """

    def __init__(self, truth: np.ndarray, probabilities: np.ndarray) -> None:
        self._labelled = truth.any(axis=1).astype(np.float64)
        n_labels = truth.sum(axis=1)
        before = np.zeros((3, len(truth)))
        changes: list[list[Any]] = [[], [], []]
        # From high to low thresholds few records change at each step, so the steps are
        # kept and not the terms.
        for threshold in F_MAX_GRID[::-1]:
            called = probabilities >= threshold
            n_called, hits = called.sum(axis=1), (called & truth).sum(axis=1)
            terms = np.stack(
                [n_called > 0, ratio(hits, n_called, 0.0), ratio(hits, n_labels, 0.0)]
            )
            for kept, change in zip(changes, terms - before, strict=True):
                kept.append(csr_array(change[None]))
            before = terms
        self._covered, self._precision, self._recall = (
            vstack(kept, format="csr") for kept in changes
        )

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Return F-max ``[n_resamples]`` for counts ``[n, n_resamples]``; NaN where no
        record has a label.
        """
        covered, precision, recall = (
            np.cumsum(change @ counts, axis=0)
            for change in (self._covered, self._precision, self._recall)
        )
        labelled = self._labelled @ counts
        mean_precision, mean_recall = (
            ratio(precision, covered, 0.0),
            ratio(recall, labelled[None]),
        )
        both = ratio(
            2 * mean_precision * mean_recall, mean_precision + mean_recall, 0.0
        )
        return np.where(labelled > 0, both.max(axis=0), np.nan)


def headline_metrics(task: str) -> tuple[str, ...]:
    """Return the names of the headline numbers of a task, in the order in which they
    are shown.

    >>> headline_metrics("multiclass")[0]
    'macro_auroc'
    """
    return _HEADLINE[task]


def _decided(inputs: Inputs, thresholds: Any) -> np.ndarray:
    decisions = decide(inputs.probabilities, inputs.task, thresholds)
    if inputs.task == "multilabel":
        return decisions.astype(bool)
    return decisions[:, None] == np.arange(len(inputs.classes))


def _transposed(flags: np.ndarray) -> csr_array:
    """Return bool ``[n, n_classes]`` as the matrix that counts each class's flagged
    records.
    """
    return csr_array(flags.T.astype(np.float64))
