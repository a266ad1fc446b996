"""Metrics as functions of record counts, for the result and for bootstrap resamples.

With a count of 1 per record the functions return the result, with the counts of a
bootstrap draw those of one resample. Both come from the same lines, so a value and its
interval always have the same definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array, vstack

from ecgnb.evaluation.arrays import check_inputs, one_hot
from ecgnb.evaluation.calibration import calibration_error, squared_errors
from ecgnb.evaluation.intervals import (
    Bounds,
    auroc_interval,
    effective_size,
    f1_interval,
    mean_interval,
    wilson_interval,
)
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
#: Names of the headline numbers of a task, in the order in which they are shown.
HEADLINE = {
    "multiclass": (*_SHARED, "accuracy", "brier", "ece"),
    "multilabel": (*_SHARED, "f_max", "exact_match", "hamming_loss", "brier", "ece"),
}
#: Thresholds of F-max, the grid of the CAFA assessments.
F_MAX_GRID = np.arange(101) / 100


class Scorer:
    """All metrics of one set of predictions as functions of record counts.

    ``counts`` is always float64 ``[n, n_resamples]``: how often each record was drawn.
    A number that a resample does not define is NaN there.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        classes: names of the columns.
        task: ``"multiclass"`` or ``"multilabel"``.
        thresholds: ``[n_classes]`` for multi-label tasks, ``None`` for 0.5.

    Attributes:
        inputs: the checked arrays.
        thresholds: the thresholds in use; ``None`` for multi-class tasks.
        decided: bool ``[n, n_classes]``, the decisions (one-hot for multi-class tasks).

    Raises:
        EcgnbError, LabelError, ConfigError: see `check_inputs`.
    """

    def __init__(
        self,
        targets: Any,
        probabilities: Any,
        classes: Sequence[str] | None,
        task: str,
        thresholds: Any = None,
    ) -> None:
        self.inputs = check_inputs(targets, probabilities, classes, task)
        truth, probabilities = self.inputs.truth, self.inputs.probabilities
        self.thresholds = check_thresholds(thresholds, truth.shape[1], task)
        decisions = decide(probabilities, task, thresholds)
        self.decided = one_hot(decisions, truth.shape, task)
        columns = zip(truth.T, probabilities.T, strict=True)
        self._ranked = [RankedClass(*column) for column in columns]
        self._support = _counting_matrix(truth)
        self._called = _counting_matrix(self.decided)
        self._hits = _counting_matrix(self.decided & truth)
        self._squared_errors = squared_errors(self.inputs)
        self._calibration_error = calibration_error(self.inputs)
        if task == "multilabel":
            self._f_max = FMax(truth, probabilities)

    def per_class(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Return the numbers of each class, each ``[n_classes, n_resamples]``.

        A number without a denominator is undefined, not 0: precision without a call,
        recall without a positive, F1 without either.
        """
        areas = [ranked.areas(counts) for ranked in self._ranked]
        auroc, average_precision = np.stack(areas, axis=1)
        support = self._support @ counts  # positives
        called = self._called @ counts
        hits = self._hits @ counts  # true positives
        negatives = counts.sum(axis=0) - support
        true_negatives = negatives - called + hits
        return {
            "support": support,
            "called": called,
            "hits": hits,
            "precision": ratio(hits, called),
            "recall": ratio(hits, support),
            "specificity": ratio(true_negatives, negatives),
            "f1": ratio(2 * hits, support + called),
            "auroc": auroc,
            "average_precision": average_precision,
        }

    def headline(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Return the headline numbers, each ``[n_resamples]``, in the order of
        `HEADLINE`.
        """
        numbers = self.per_class(counts)
        n_records = counts.sum(axis=0)
        support, recall = numbers["support"], numbers["recall"]
        hits = numbers["hits"].sum(axis=0)
        weighted_f1 = (support * np.nan_to_num(numbers["f1"])).sum(axis=0)
        headline = {
            "macro_auroc": mean_defined(numbers["auroc"]),
            "macro_average_precision": mean_defined(numbers["average_precision"]),
            "macro_f1": mean_defined(numbers["f1"]),
            "weighted_f1": ratio(weighted_f1, support.sum(axis=0)),
            "micro_f1": ratio(2 * hits, (support + numbers["called"]).sum(axis=0)),
            "brier": self._squared_errors @ counts / n_records,
            "ece": self._calibration_error(counts),
        }
        if self.inputs.task == "multiclass":
            headline["balanced_accuracy"] = mean_defined(recall)
            headline["accuracy"] = hits / n_records
        else:
            balanced = (recall + numbers["specificity"]) / 2
            headline["balanced_accuracy"] = mean_defined(balanced)
            headline["f_max"] = self._f_max(counts)
            wrong = (self.decided != self.inputs.truth).mean(axis=1)
            all_right = (wrong == 0).astype(np.float64)
            headline["exact_match"] = all_right @ counts / n_records
            headline["hamming_loss"] = wrong @ counts / n_records
        return {name: headline[name] for name in HEADLINE[self.inputs.task]}


def class_bounds(
    scorer: Scorer, patients: np.ndarray, confidence: float
) -> dict[str, Bounds]:
    """Return score intervals of the numbers of each class, pairs of ``[n_classes]``.

    Shares (precision, recall, specificity, F1 by way of F*) have Wilson's interval,
    with the effective number of trials where patients have several records. The average
    precision has that of a share of the positives (the binomial interval of Boyd et al.
    2013, "Area under the precision-recall curve", ECML PKDD, in Wilson's form), the
    AUROC Newcombe's.

    Args:
        scorer: the predictions.
        patients: int ``[n]``, number of each record's patient.
        confidence: coverage, between 0 and 1.
    """
    truth, called = scorer.inputs.truth, scorer.decided
    once = np.ones((len(truth), 1))
    numbers = {name: values[:, 0] for name, values in scorer.per_class(once).items()}

    def trials(hits: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return effective hits and trials, both ``[n_classes]``."""
        size = effective_size(per_patient(hits, patients), per_patient(count, patients))
        share = ratio(hits.sum(axis=0), count.sum(axis=0), undefined=0.0)
        return share * size, size

    positives = trials(truth, truth)[1]  # all agree: the fewest that they are worth
    negatives = trials(~truth, ~truth)[1]
    precision = numbers["average_precision"]
    return {
        "precision": wilson_interval(*trials(called & truth, called), confidence),
        "recall": wilson_interval(*trials(called & truth, truth), confidence),
        "specificity": wilson_interval(*trials(~called & ~truth, ~truth), confidence),
        "f1": f1_interval(*trials(called & truth, called | truth), confidence),
        "auroc": auroc_interval(numbers["auroc"], positives, negatives, confidence),
        "average_precision": wilson_interval(
            precision * positives, positives, confidence
        ),
    }


def per_patient(flags: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Sum ``[n, n_classes]`` over the records of each patient."""
    records = np.arange(len(patients))
    shape = (int(patients.max()) + 1, len(patients))
    sums = csr_array((np.ones(len(patients)), (patients, records)), shape=shape)
    return sums @ flags.astype(np.float64)


def headline_bounds(
    scorer: Scorer, patients: np.ndarray, confidence: float
) -> dict[str, Bounds]:
    """Return score intervals of headline numbers, pairs of numbers.

    Shares of records or of decisions have Wilson's interval, means over classes that
    of Zou et al. 2009 from those of the classes. F-max, a mean over records of numbers
    from 0 to 1, varies at most as a share does. Brier score and calibration error are
    not here: they vary far less.
    """
    truth, called = scorer.inputs.truth, scorer.decided
    bounds = class_bounds(scorer, patients, confidence)
    once = np.ones((len(truth), 1))
    numbers = {name: values[:, 0] for name, values in scorer.per_class(once).items()}

    def share(hits: np.ndarray, count: np.ndarray) -> tuple[Any, Any]:
        """Return effective hits and trials of all classes together."""
        by_patient = [
            per_patient(flags.sum(axis=1, keepdims=True), patients)
            for flags in (hits, count)
        ]
        size = effective_size(*by_patient)[0]
        return size * ratio(hits.sum(), count.sum(), undefined=0.0), size

    def mean(*names: str, weights: Any = None) -> Bounds:
        values = np.concatenate([numbers[name] for name in names])
        low = np.concatenate([bounds[name][0] for name in names])
        high = np.concatenate([bounds[name][1] for name in names])
        return mean_interval(values, low, high, weights)

    everything = np.ones_like(truth)
    record = everything[:, :1]
    right = (called == truth).all(axis=1, keepdims=True)
    intervals = {
        "macro_auroc": mean("auroc"),
        "macro_average_precision": mean("average_precision"),
        "macro_f1": mean("f1"),
        "weighted_f1": mean("f1", weights=numbers["support"]),
        "micro_f1": f1_interval(*share(called & truth, called | truth), confidence),
    }
    if scorer.inputs.task == "multiclass":
        intervals["balanced_accuracy"] = mean("recall")
        intervals["accuracy"] = wilson_interval(*share(right, record), confidence)
        return intervals
    intervals["balanced_accuracy"] = mean("recall", "specificity")
    intervals["exact_match"] = wilson_interval(*share(right, record), confidence)
    wrong = share(called != truth, everything)
    intervals["hamming_loss"] = wilson_interval(*wrong, confidence)
    size = share(record, record)[1]  # all agree: the fewest that they are worth
    f_max = scorer.headline(once)["f_max"][0]
    intervals["f_max"] = wilson_interval(f_max * size, size, confidence)
    return intervals


class FMax:
    """Sample-centric F-max: the best harmonic mean of mean precision and mean recall
    over one common threshold.

    At each threshold precision is averaged over the records that have a call, recall
    over the records that have a label (Radivojac et al. 2013, "A large-scale evaluation
    of computational protein function prediction", Nature Methods; for the ECG in
    Strodthoff et al. 2021). The thresholds are 0, 0.01, ..., 1; a probability equal to
    the threshold is a call.

    Args:
        truth: bool ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
    """

    def __init__(self, truth: np.ndarray, probabilities: np.ndarray) -> None:
        n_labels = truth.sum(axis=1)
        self._labelled = (n_labels > 0).astype(np.float64)
        previous = np.zeros((3, len(truth)))
        steps = []
        # From high to low thresholds few records change at each step, so the changes
        # are stored as sparse rows, not the terms.
        for threshold in F_MAX_GRID[::-1]:
            called = probabilities >= threshold
            n_called = called.sum(axis=1)
            hits = (called & truth).sum(axis=1)
            precision = ratio(hits, n_called, undefined=0.0)
            recall = ratio(hits, n_labels, undefined=0.0)
            terms = np.stack([n_called > 0, precision, recall])  # [3, n]
            steps.append(csr_array(terms - previous))
            previous = terms
        self._changes = vstack(steps, format="csr")  # [3 * n_thresholds, n]

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Return F-max ``[n_resamples]`` for counts ``[n, n_resamples]``; NaN where no
        record has a label.
        """
        changes = (self._changes @ counts).reshape(len(F_MAX_GRID), 3, -1)
        # Sums over the records at each threshold, each [n_thresholds, n_resamples].
        covered, precision, recall = np.moveaxis(np.cumsum(changes, axis=0), 1, 0)
        n_labelled = self._labelled @ counts
        mean_precision = ratio(precision, covered, undefined=0.0)
        mean_recall = ratio(recall, n_labelled)
        product, total = mean_precision * mean_recall, mean_precision + mean_recall
        # F-score at each threshold, [n_thresholds, n_resamples].
        f_scores = ratio(2 * product, total, undefined=0.0)
        return np.where(n_labelled > 0, f_scores.max(axis=0), np.nan)


def _counting_matrix(flags: np.ndarray) -> csr_array:
    """Return sparse ``[n_classes, n]``, which counts each class's flagged records."""
    return csr_array(flags.T.astype(np.float64))
