"""Whether probabilities mean what they say, and the one number that mends them.

Definitions: the Brier score of a multi-class task is the mean over records of the sum
over classes of squared differences (0 best, 2 worst; Brier 1950), of a multi-label task
the mean over records and classes (0 best, 1 worst). The expected calibration error
takes 15 bins of equal width, open at the left end; in a multi-class task of the most
probable class and whether it is right (Guo et al. 2017, "On calibration of modern
neural networks", ICML), in a multi-label task of each class on its own, averaged over
the classes.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

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
#: Range of temperatures: a separable validation set would otherwise ask for 0, a
#: useless model for infinity.
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
        grown = np.exp(scores - scores.max(axis=1, keepdims=True))
        return grown / grown.sum(axis=1, keepdims=True)
    small = np.exp(-np.abs(scores))
    return np.where(scores >= 0, 1.0, small) / (1.0 + small)


def apply_temperature(logits: Any, temperature: float) -> np.ndarray:
    """Return the logits divided by ``temperature``, float64 ``[n, n_classes]``.

    Raises:
        ConfigError: the temperature is not a positive number.
        EcgnbError: the logits are not finite or not ``[n, n_classes]``.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise ConfigError(
            f"The temperature is {temperature}; a positive number is needed, 1 changes nothing."
        )
    return check_scores(logits, "logits") / temperature


def fit_temperature(logits: Any, targets: Any, task: str) -> float:
    """Find the temperature that makes validation records most likely (Guo et al. 2017).

    The negative log-likelihood is convex in 1 / temperature, so its slope is zero at
    one place only; that root is bracketed and found to full precision.

    Args:
        logits: ``[n, n_classes]`` of validation records.
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.

    Returns:
        A number within `TEMPERATURE_RANGE`: above 1 the model was too sure, below 1 not
        sure enough. 1 when the logits are all alike and no temperature is better than
        another.

    Raises:
        EcgnbError: shapes disagree, or logits are not finite.
        LabelError: a target is not a class number or not 0 or 1.
        ConfigError: the task is unknown.
    """
    from scipy.optimize import brentq

    scores = check_scores(logits, "logits")
    truth = one_hot(targets, scores.shape, task)
    if task == "multiclass":
        scores = scores - scores.max(
            axis=1, keepdims=True
        )  # the same for the softmax, and less to cancel

    def slope(log_temperature: float) -> float:
        """Slope of the negative log-likelihood over 1 / temperature; it falls as the
        temperature grows.
        """
        expected = probabilities_from_logits(scores * np.exp(-log_temperature), task)
        return float(((expected - truth) * scores).sum() / len(scores))

    coldest, hottest = np.log(TEMPERATURE_RANGE)
    at_coldest, at_hottest = slope(coldest), slope(hottest)
    if at_coldest == 0 and at_hottest == 0:
        return 1.0
    if at_coldest <= 0:
        return TEMPERATURE_RANGE[0]
    if at_hottest >= 0:
        return TEMPERATURE_RANGE[1]
    return float(np.exp(brentq(slope, coldest, hottest, xtol=1e-13, rtol=1e-13)))


def brier_score(targets: Any, probabilities: Any, task: str) -> float:
    """Return the Brier score as this module defines it; lower is better.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.

    Raises:
        EcgnbError, LabelError, ConfigError: as `check_inputs` tells.
    """
    return float(squared_errors(_checked(targets, probabilities, task)).mean())


def squared_errors(inputs: Inputs) -> np.ndarray:
    """Return each record's part of the Brier score, float64 ``[n]``."""
    squares = (inputs.probabilities - inputs.truth) ** 2
    return squares.sum(axis=1) if inputs.task == "multiclass" else squares.mean(axis=1)


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
        EcgnbError, LabelError, ConfigError: as `check_inputs` tells.
    """
    inputs = _checked(targets, probabilities, task)
    return float(calibration_error(inputs, n_bins)(np.ones((len(inputs.truth), 1)))[0])


def classwise_calibration_error(
    targets: Any, probabilities: Any, task: str, n_bins: int = N_BINS
) -> np.ndarray:
    """Return the expected calibration error of each class against the rest,
    ``[n_classes]``.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.
        n_bins: bins of equal width.

    Raises:
        EcgnbError, LabelError, ConfigError: as `check_inputs` tells.
    """
    inputs = _checked(targets, probabilities, task)
    once = np.ones((len(inputs.truth), 1))
    columns = zip(inputs.probabilities.T, inputs.truth.T, strict=True)
    return np.array(
        [_gaps(sure[:, None], hit[:, None], n_bins)(once)[0] for sure, hit in columns]
    )


def calibration_error(
    inputs: Inputs, n_bins: int = N_BINS
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the expected calibration error as a function of how often each record
    counts.

    The function takes counts ``[n, n_resamples]`` and returns ``[n_resamples]``.
    """
    return _gaps(*_sureness(inputs), n_bins)


def reliability_table(
    targets: Any,
    probabilities: Any,
    task: str,
    n_bins: int = N_BINS,
    binning: str = "width",
    class_index: int | None = None,
) -> pd.DataFrame:
    """Tell for each range of confidence how often the model was right.

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
        A row a bin: ``lower, upper, count, confidence`` (mean), ``observed`` (share
        that was right), ``low, high`` (its 95 % Wilson interval). Bins without records
        have NaN in the last four.

    Raises:
        EcgnbError, LabelError, ConfigError: as `check_inputs` tells; also for an
            unknown ``binning``.
    """
    inputs = _checked(targets, probabilities, task)
    if class_index is None:
        sure, hit = _sureness(inputs)
    else:
        sure, hit = inputs.probabilities[:, class_index], inputs.truth[:, class_index]
    sure, hit = sure.ravel(), hit.ravel()
    edges = _edges(sure, n_bins, binning)
    bins = _bins(sure, edges)
    count, hits = (
        np.bincount(bins, weights, len(edges) - 1) for weights in (None, hit)
    )
    low, high = wilson_interval(hits, count)
    columns = {
        "lower": edges[:-1],
        "upper": edges[1:],
        "count": count.astype(np.int64),
        "confidence": ratio(np.bincount(bins, sure, len(edges) - 1), count),
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
    hits, count = (
        np.asarray(hits, dtype=np.float64),
        np.asarray(count, dtype=np.float64),
    )
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = ratio(hits, count)
    spread = z * np.sqrt(share * (1 - share) * count + z * z / 4)
    middle = hits + z * z / 2
    return np.clip((middle - spread) / (count + z * z), 0, 1), np.clip(
        (middle + spread) / (count + z * z), 0, 1
    )


def _checked(targets: Any, probabilities: Any, task: str) -> Inputs:
    columns = np.shape(probabilities)[-1] if np.ndim(probabilities) else 0
    return check_inputs(targets, probabilities, [str(k) for k in range(columns)], task)


def _sureness(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Return how sure the model was and whether it was right: of its first choice ``[n,
    1]``, or ``[n, n_classes]``.
    """
    if inputs.task == "multilabel":
        return inputs.probabilities, inputs.truth
    first = inputs.probabilities.argmax(axis=1)[:, None]
    return np.take_along_axis(inputs.probabilities, first, 1), np.take_along_axis(
        inputs.truth, first, 1
    )


def _gaps(
    sure: np.ndarray, hit: np.ndarray, n_bins: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of counts: mean over columns of the sum over bins of |confidence - observed| times share.

    In each bin that is |sum of (confidence - hit)| over the number of records: one sparse row a bin and column.
    """
    n, columns = sure.shape
    rows = _bins(sure, _edges(sure, n_bins, "width")) + n_bins * np.arange(columns)
    records = np.repeat(np.arange(n), columns)
    shape = (n_bins * columns, n)
    gaps = csr_array(((sure - hit).ravel(), (rows.ravel(), records)), shape=shape)
    return lambda counts: (
        np.abs(gaps @ counts).sum(axis=0) / (columns * counts.sum(axis=0))
    )


def _edges(sure: np.ndarray, n_bins: int, binning: str) -> np.ndarray:
    if n_bins < 1:
        raise EcgnbError(f"The number of bins is {n_bins}; at least 1 is needed.")
    even = np.linspace(0.0, 1.0, n_bins + 1)
    if binning == "width":
        return even
    if binning == "mass":
        inner = np.unique(np.quantile(sure, even[1:-1]))
        return np.concatenate([[0.0], inner[(inner > 0) & (inner < 1)], [1.0]])
    raise ConfigError(f"The binning is {binning!r}; give 'width' or 'mass'.")


def _bins(sure: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the bin of each value; a value on an edge belongs to the bin below it."""
    return np.searchsorted(edges[1:-1], sure, side="left")
