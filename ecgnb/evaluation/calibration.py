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
from statistics import NormalDist
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
    return float(np.exp(brentq(slope, lowest, highest, xtol=1e-13, rtol=1e-13)))


def brier_score(targets: Any, probabilities: Any, task: str) -> float:
    """Return the Brier score as this module defines it; lower is better.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.

    Raises:
        EcgnbError, LabelError, ConfigError: see `check_inputs`.
    """
    return float(
        squared_errors(check_inputs(targets, probabilities, None, task)).mean()
    )


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
    return float(calibration_error(inputs, n_bins)(np.ones((len(inputs.truth), 1)))[0])


def classwise_calibration_error(
    targets: Any, probabilities: Any, task: str, n_bins: int = N_BINS
) -> np.ndarray:
    """Return the expected calibration error of each class against the rest, float64
    ``[n_classes]``.

    Arguments and errors are those of `expected_calibration_error`.
    """
    inputs = check_inputs(targets, probabilities, None, task)
    once = np.ones((len(inputs.truth), 1))
    errors = []
    for confidence, hit in zip(inputs.probabilities.T, inputs.truth.T, strict=True):
        errors.append(_binned_error(confidence[:, None], hit[:, None], n_bins)(once)[0])
    return np.array(errors)


def calibration_error(
    inputs: Inputs, n_bins: int = N_BINS
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the expected calibration error as a function of record counts.

    The function takes counts ``[n, n_resamples]`` and returns ``[n_resamples]``.
    """
    return _binned_error(*_confidence(inputs), n_bins)


def reliability_table(
    targets: Any,
    probabilities: Any,
    task: str,
    n_bins: int = N_BINS,
    binning: str = "width",
    class_index: int | None = None,
) -> pd.DataFrame:
    """Compare confidence with the observed share of right predictions, bin by bin.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.
        n_bins: number of bins.
        binning: ``"width"`` (equal widths) or ``"mass"`` (as equal numbers of records
            as ties allow).
        class_index: one class against the rest; ``None`` takes the most probable class
            of each record (multi-class) or all classes of all records together
            (multi-label).

    Returns:
        One row per bin: ``lower, upper, count, confidence`` (mean), ``observed`` (share
        that was right), ``low, high`` (its 95 % Wilson interval). Bins without records
        have NaN in the last four.

    Raises:
        EcgnbError, LabelError, ConfigError: see `check_inputs`; also for an unknown
            ``binning``.
    """
    inputs = check_inputs(targets, probabilities, None, task)
    if class_index is None:
        confidence, hit = _confidence(inputs)
    else:
        confidence = inputs.probabilities[:, class_index]
        hit = inputs.truth[:, class_index]
    confidence, hit = confidence.ravel(), hit.ravel()
    edges = _bin_edges(confidence, n_bins, binning)
    bins, length = _bin_numbers(confidence, edges), len(edges) - 1
    count = np.bincount(bins, minlength=length).astype(np.float64)
    hits = np.bincount(bins, hit, length)
    low, high = wilson_interval(hits, count)
    columns = {
        "lower": edges[:-1],
        "upper": edges[1:],
        "count": count.astype(np.int64),
        "confidence": ratio(np.bincount(bins, confidence, length), count),
        "observed": ratio(hits, count),
        "low": low,
        "high": high,
    }
    return pd.DataFrame(columns)


def wilson_interval(
    hits: Any, count: Any, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return the score interval of a proportion (Wilson 1927); NaN where ``count`` is
    0.

    Args:
        hits: successes, any shape.
        count: trials, the same shape.
        confidence: coverage between 0 and 1.
    """
    hits = np.asarray(hits, dtype=np.float64)
    count = np.asarray(count, dtype=np.float64)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = ratio(hits, count)
    spread = z * np.sqrt(share * (1 - share) * count + z * z / 4)
    middle = hits + z * z / 2
    low = (middle - spread) / (count + z * z)
    high = (middle + spread) / (count + z * z)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def _confidence(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Return confidence and whether it was right: of the most probable class ``[n, 1]``
    (multi-class), of all classes ``[n, n_classes]`` (multi-label).
    """
    if inputs.task == "multilabel":
        return inputs.probabilities, inputs.truth
    top = inputs.probabilities.argmax(axis=1)[:, None]
    confidence = np.take_along_axis(inputs.probabilities, top, 1)
    return confidence, np.take_along_axis(inputs.truth, top, 1)


def _binned_error(
    confidence: np.ndarray, hit: np.ndarray, n_bins: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of counts: the mean over columns of the sum over bins of
    |mean confidence - observed share| times the bin's share of the records.

    In each bin that is |sum of (confidence - hit)| over the number of records: one row
    of a sparse matrix per column and bin.
    """
    n, columns = confidence.shape
    bins = _bin_numbers(confidence, _bin_edges(confidence, n_bins, "width"))
    rows = bins + n_bins * np.arange(columns)
    records = np.repeat(np.arange(n), columns)
    entries = ((confidence - hit).ravel(), (rows.ravel(), records))
    differences = csr_array(entries, shape=(n_bins * columns, n))

    def error(counts: np.ndarray) -> np.ndarray:
        total = columns * counts.sum(axis=0)
        return np.abs(differences @ counts).sum(axis=0) / total

    return error


def _bin_edges(confidence: np.ndarray, n_bins: int, binning: str) -> np.ndarray:
    if n_bins < 1:
        raise EcgnbError(f"The number of bins is {n_bins}; give at least 1.")
    even = np.linspace(0.0, 1.0, n_bins + 1)
    if binning == "width":
        return even
    if binning == "mass":
        inner = np.unique(np.quantile(confidence, even[1:-1]))
        return np.concatenate([[0.0], inner[(inner > 0) & (inner < 1)], [1.0]])
    raise ConfigError(f"The binning is {binning!r}; give 'width' or 'mass'.")


def _bin_numbers(confidence: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return each value's bin; a value on an edge belongs to the bin below it."""
    return np.searchsorted(edges[1:-1], confidence, side="left")
