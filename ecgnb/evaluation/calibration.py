"""Calibration: Brier score, expected calibration error, temperature scaling (Guo et al.
2017).

The Brier score of a multi-class task is the mean over records of the sum over classes
of squared differences (0 best, 2 worst; Brier 1950), of a multi-label task the mean
over records and classes (0 best, 1 worst). The expected calibration error (ECE) takes
15 bins of equal width, open at the left end; in a multi-class task of the most probable
class and whether it is right (Guo et al. 2017, "On calibration of modern neural
networks", ICML), in a multi-label task of each class, averaged over the classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.sparse import csr_array
from scipy.special import softmax

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.evaluation.arrays import (
    Inputs,
    check_inputs,
    check_scores,
    check_task,
    one_hot,
)
from ecgnb.evaluation.intervals import wilson_interval
from ecgnb.evaluation.ranking import ratio

#: Bins of the expected calibration error and of reliability tables.
N_BINS = 15
#: Range of temperatures: without it a separable validation set would give 0, a useless
#: model infinity.
TEMPERATURE_RANGE = (0.05, 20.0)


def probabilities_from_logits(logits: Any, task: str) -> np.ndarray:
    """Turn logits into probabilities without overflow: softmax (multi-class) or sigmoid
    (multi-label).

    Args:
        logits: ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.

    Returns:
        float64 ``[n, n_classes]``.

    Raises:
        EcgnbError: the logits are not finite or not ``[n, n_classes]``.
        ConfigError: the task is unknown.

    >>> probabilities_from_logits([[1000.0, 1000.0]], "multiclass").tolist()
    [[0.5, 0.5]]
    """
    check_task(task)
    scores = check_scores(logits, "logits")
    if task == "multiclass":
        return softmax(scores, axis=1)
    small = np.exp(-np.abs(scores))  # at most 1, so that nothing overflows
    return np.where(scores >= 0, 1.0, small) / (1.0 + small)


def apply_temperature(logits: Any, temperature: float) -> np.ndarray:
    """Return the logits divided by ``temperature``, float64 ``[n, n_classes]``.

    Raises:
        ConfigError: the temperature is not a positive number.
        EcgnbError: the logits are not finite or not ``[n, n_classes]``.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise ConfigError(
            f"The temperature is {temperature}; give a positive number, 1 changes "
            "nothing."
        )
    return check_scores(logits, "logits") / temperature


def calibrated_probabilities(
    logits: Any, task: str, temperature: float = 1.0, logit_offset: Any = ()
) -> np.ndarray:
    """Return the probabilities of logits after offset and temperature, as evaluation
    and prediction use them.

    Args:
        logits: ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.
        temperature: what the logits are divided by.
        logit_offset: ``[n_classes]``, added before (see `ecgnb.evaluation.prior`);
            empty adds nothing.

    Returns:
        float64 ``[n, n_classes]``.

    Raises:
        ConfigError: the temperature is not positive, or the offset is not one finite
            number for each class.
        EcgnbError: the logits are not finite or not ``[n, n_classes]``.
    """
    scores = check_scores(logits, "logits")
    if np.size(logit_offset):
        offset = np.asarray(logit_offset, dtype=np.float64)
        if offset.shape != scores.shape[1:] or not np.isfinite(offset).all():
            raise ConfigError(
                f"The offset of the logits is {offset.tolist()}; give one finite "
                f"number for each of the {scores.shape[1]} classes."
            )
        scores = scores + offset
    return probabilities_from_logits(apply_temperature(scores, temperature), task)


def fit_temperature(logits: Any, targets: Any, task: str) -> float:
    """Fit the temperature that makes validation records most likely (Guo et al. 2017).

    The negative log-likelihood is convex in 1 / temperature, so its slope has one root;
    it is bracketed and found to full precision.

    Args:
        logits: ``[n, n_classes]`` of validation records.
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.

    Returns:
        A number within `TEMPERATURE_RANGE`: above 1 the model was overconfident, below
        1 underconfident. 1 when all logits are alike and all temperatures equally good.

    Raises:
        EcgnbError: shapes disagree, or logits are not finite.
        LabelError: a target is not a class number or not 0 or 1.
        ConfigError: the task is unknown.
    """
    scores = check_scores(logits, "logits")
    truth = one_hot(targets, scores.shape, task)
    if task == "multiclass":
        # The softmax stays the same, and less cancels in the slope.
        scores = scores - scores.max(axis=1, keepdims=True)

    def slope(log_temperature: float) -> float:
        """Slope of the negative log-likelihood over 1 / temperature; it falls with the
        temperature.
        """
        expected = probabilities_from_logits(scores * np.exp(-log_temperature), task)
        return float(((expected - truth) * scores).sum() / len(scores))

    lowest, highest = np.log(TEMPERATURE_RANGE)
    slope_lowest, slope_highest = slope(lowest), slope(highest)
    if slope_lowest == 0 and slope_highest == 0:
        return 1.0
    if slope_lowest <= 0:
        return TEMPERATURE_RANGE[0]
    if slope_highest >= 0:
        return TEMPERATURE_RANGE[1]
    log_temperature = brentq(slope, lowest, highest, xtol=1e-13, rtol=1e-13)
    return float(np.exp(log_temperature))


def brier_score(targets: Any, probabilities: Any, task: str) -> float:
    """Return the Brier score as this module defines it; lower is better.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.

    Raises:
        EcgnbError, LabelError, ConfigError: see `check_inputs`.
    """
    inputs = check_inputs(targets, probabilities, None, task)
    return float(squared_errors(inputs).mean())


def squared_errors(inputs: Inputs) -> np.ndarray:
    """Return each record's part of the Brier score, float64 ``[n]``."""
    squares = (inputs.probabilities - inputs.truth) ** 2
    if inputs.task == "multiclass":
        return squares.sum(axis=1)
    return squares.mean(axis=1)


def expected_calibration_error(
    targets: Any, probabilities: Any, task: str, n_bins: int = N_BINS
) -> float:
    """Return the expected calibration error as this module defines it; lower is better.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        task: ``"multiclass"`` (top label) or ``"multilabel"`` (mean over classes).
        n_bins: bins of equal width.

    Raises:
        EcgnbError, LabelError, ConfigError: see `check_inputs`.
    """
    inputs = check_inputs(targets, probabilities, None, task)
    error = calibration_error(inputs, n_bins)
    once = np.ones((len(inputs.truth), 1))  # each record counts once
    return float(error(once)[0])


def classwise_calibration_error(inputs: Inputs, n_bins: int = N_BINS) -> np.ndarray:
    """Return the expected calibration error of each class against the rest, float64
    ``[n_classes]``.
    """
    once = np.ones((len(inputs.truth), 1))  # each record counts once
    return classwise_calibration_errors(inputs, n_bins)(once)[:, 0]


def classwise_calibration_errors(
    inputs: Inputs, n_bins: int = N_BINS
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the expected calibration error of each class as a function of record
    counts: ``[n, n_resamples]`` gives ``[n_classes, n_resamples]``.
    """
    differences = _bin_differences(inputs.probabilities, inputs.truth, n_bins)

    def errors(counts: np.ndarray) -> np.ndarray:
        sums = np.abs(differences @ counts).reshape(-1, n_bins, counts.shape[1])
        return sums.sum(axis=1) / counts.sum(axis=0)

    return errors


def calibration_error(
    inputs: Inputs, n_bins: int = N_BINS
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the expected calibration error as a function of record counts.

    The function takes counts ``[n, n_resamples]`` and returns ``[n_resamples]``.
    """
    confidence, hit = _confidence(inputs)
    differences = _bin_differences(confidence, hit, n_bins)
    n_columns = confidence.shape[1]

    def error(counts: np.ndarray) -> np.ndarray:
        total = n_columns * counts.sum(axis=0)
        return np.abs(differences @ counts).sum(axis=0) / total

    return error


def reliability_table(
    targets: Any, probabilities: Any, task: str, n_bins: int = N_BINS
) -> pd.DataFrame:
    """Compare confidence with the observed share of right predictions, bin by bin.

    Confidence is the probability of the most probable class of each record
    (multi-class), or of all classes of all records together (multi-label).

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.
        n_bins: bins of equal width.

    Returns:
        One row per bin: ``lower, upper, count, confidence`` (mean), ``observed`` (share
        that was right), ``low, high`` (its 95 % Wilson interval). Bins without records
        have NaN in the last four.

    Raises:
        EcgnbError, LabelError, ConfigError: see `check_inputs`.
    """
    inputs = check_inputs(targets, probabilities, None, task)
    confidence, hit = map(np.ravel, _confidence(inputs))
    edges, bins = _bins(confidence, n_bins)
    count = np.bincount(bins, minlength=n_bins)
    hits = np.bincount(bins, hit, n_bins)
    low, high = wilson_interval(hits, count)
    columns = {
        "lower": edges[:-1],
        "upper": edges[1:],
        "count": count,
        "confidence": ratio(np.bincount(bins, confidence, n_bins), count),
        "observed": ratio(hits, count),
        "low": low,
        "high": high,
    }
    return pd.DataFrame(columns)


def _confidence(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Return confidence and whether it was right: of the most probable class ``[n, 1]``
    (multi-class), of all classes ``[n, n_classes]`` (multi-label).
    """
    if inputs.task == "multilabel":
        return inputs.probabilities, inputs.truth
    top = inputs.probabilities.argmax(axis=1, keepdims=True)
    confidence = np.take_along_axis(inputs.probabilities, top, axis=1)
    hit = np.take_along_axis(inputs.truth, top, axis=1)
    return confidence, hit


def _bin_differences(confidence: np.ndarray, hit: np.ndarray, n_bins: int) -> csr_array:
    """Return sparse ``[n_columns * n_bins, n]``: each row sums confidence - hit over
    the records of one bin of one column.

    In a bin, |mean confidence - observed share| times the bin's share of the records is
    the absolute value of that sum over the number of all records.
    """
    n, n_columns = confidence.shape
    _, bins = _bins(confidence, n_bins)
    rows = bins + n_bins * np.arange(n_columns)
    records = np.repeat(np.arange(n), n_columns)
    entries = ((confidence - hit).ravel(), (rows.ravel(), records))
    return csr_array(entries, shape=(n_bins * n_columns, n))


def _bins(confidence: np.ndarray, n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges of the bins, and each value's bin; a value on an edge belongs to
    the bin below it.
    """
    if n_bins < 1:
        raise EcgnbError(f"The number of bins is {n_bins}; give at least 1.")
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    return edges, np.searchsorted(edges[1:-1], confidence, side="left")
