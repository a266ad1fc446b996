"""Intervals of metrics: bootstrap over patients or records, and score intervals.

Shares of records have score intervals; other numbers the outer ends of their score
interval and of the bootstrap's, which would collapse to a point where all resamples
agree (see `ecgnb.evaluation.intervals`).

Percentile intervals after Efron and Tibshirani 1993, "An introduction to the
bootstrap", chapter 13. A class that lacks an outcome in a resample is left out of the
macro averages of this resample, so they equal scikit-learn's on the classes that are
present. A resample that does not define a number at all is left out of that number's
interval; ``n_valid_resamples`` counts the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.evaluation.calibration import classwise_calibration_errors
from ecgnb.evaluation.intervals import Bounds, wilson_interval
from ecgnb.evaluation.scorer import Scorer, class_bounds, headline_bounds

#: Numbers per class that get an interval.
PER_CLASS_METRICS = (
    "auroc",
    "average_precision",
    "precision",
    "recall",
    "specificity",
    "f1",
    "brier",
    "ece",
)
#: Those of them that are shares of records: their score intervals are enough.
CLASS_SHARES = ("precision", "recall", "specificity", "f1")
#: The headline numbers that are shares of records or of decisions.
SHARES = ("accuracy", "exact_match", "hamming_loss", "micro_f1")
#: Entries of one block of counts: 8 MB, so that memory does not grow with records times
#: resamples.
_BLOCK_ENTRIES = 1 << 20

#: Counts ``[n, n_resamples]`` to numbers ``[..., n_resamples]``.
Score = Callable[[np.ndarray], dict[str, np.ndarray]]


def bootstrap(
    targets: Any,
    probabilities: Any,
    classes: Sequence[str],
    task: str,
    thresholds: Any = None,
    **options: Any,
) -> pd.DataFrame:
    """Return every headline number with its bootstrap interval.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        classes: names of the columns.
        task: ``"multiclass"`` or ``"multilabel"``.
        thresholds: ``[n_classes]`` for multi-label tasks (chosen on validation),
            ``None`` for 0.5.
        **options: ``n_resamples, seed, confidence, groups`` of `bootstrap_score`.

    Returns:
        One row per headline number: ``metric, value, low, high, n_valid_resamples``.

    Raises:
        EcgnbError, LabelError, ConfigError: see `check_inputs` and `bootstrap_score`.
    """
    scorer = Scorer(targets, probabilities, classes, task, thresholds)
    table = bootstrap_score(scorer.headline, len(scorer.decided), **options)
    patients = _sampling_units(options.get("groups"), len(scorer.decided))
    confidence = options.get("confidence", 0.95)
    bounds = headline_bounds(scorer, patients, confidence)
    table = _with_score_intervals(table, bounds, one_share=SHARES)
    return widen_collapsed(table, len(np.unique(patients)), confidence)


def bootstrap_per_class(
    targets: Any,
    probabilities: Any,
    classes: Sequence[str],
    task: str,
    thresholds: Any = None,
    **options: Any,
) -> pd.DataFrame:
    """Return the numbers of each class (`PER_CLASS_METRICS`) with their bootstrap
    intervals.

    Arguments and errors are those of `bootstrap`.

    Returns:
        One row per number and class: ``class, metric, value, low, high,
        n_valid_resamples``.
    """
    scorer = Scorer(targets, probabilities, classes, task, thresholds)

    squares = (scorer.inputs.probabilities - scorer.inputs.truth) ** 2
    calibration_errors = classwise_calibration_errors(scorer.inputs)

    def score(counts: np.ndarray) -> dict[str, np.ndarray]:
        numbers = scorer.per_class(counts)
        numbers["brier"] = squares.T @ counts / counts.sum(axis=0)
        numbers["ece"] = calibration_errors(counts)
        return {name: numbers[name] for name in PER_CLASS_METRICS}

    table = bootstrap_score(score, len(scorer.decided), **options)
    patients = _sampling_units(options.get("groups"), len(scorer.decided))
    confidence = options.get("confidence", 0.95)
    bounds = class_bounds(scorer, patients, confidence)
    table = _with_score_intervals(table, bounds, one_share=CLASS_SHARES)
    table = widen_collapsed(table, len(np.unique(patients)), confidence)
    table.insert(0, "class", list(scorer.inputs.classes) * len(PER_CLASS_METRICS))
    return table


def _with_score_intervals(
    table: pd.DataFrame, bounds: dict[str, Bounds], one_share: Sequence[str]
) -> pd.DataFrame:
    """Replace the bootstrap intervals of shares by their score intervals; of other
    numbers take the outer one of both ends.

    Score intervals never collapse, but that of an AUROC relies on a model of its
    variance, and those of means on independent classes: the bootstrap relies on
    neither, so that an end is the one of the method that is less sure.
    """
    table = table.copy()
    for metric, (low, high) in bounds.items():
        rows = table["metric"] == metric
        if metric not in one_share:
            low = np.fmin(low, table.loc[rows, "low"].to_numpy(float))
            high = np.fmax(high, table.loc[rows, "high"].to_numpy(float))
        defined = table.loc[rows, "value"].notna().to_numpy()
        table.loc[rows, "low"] = np.where(defined, low, np.nan)
        table.loc[rows, "high"] = np.where(defined, high, np.nan)
    return table


def widen_collapsed(
    table: pd.DataFrame, n_patients: int, confidence: float
) -> pd.DataFrame:
    """Give intervals of zero width, of numbers from 0 to 1, that of a share.

    No resample differs when all records are alike, such as all right. A mean over
    records of numbers from 0 to 1 varies at most as a share does, so that Wilson's
    interval of the value is wide enough.

    Args:
        table: from `bootstrap_score`.
        n_patients: patients, or records without one, that were drawn.
        confidence: coverage, between 0 and 1.
    """
    table = table.copy()
    value = table["value"].to_numpy(float)
    width = (table["high"] - table["low"]).to_numpy(float)
    collapsed = (width < 1e-12) & (value >= 0) & (value <= 1)
    low, high = wilson_interval(
        value * n_patients, np.full(len(value), float(n_patients)), confidence
    )
    table["low"] = np.where(collapsed, low, table["low"])
    table["high"] = np.where(collapsed, high, table["high"])
    return table


def bootstrap_score(
    score: Score,
    n_records: int,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    groups: Any = None,
) -> pd.DataFrame:
    """Return numbers that are functions of record counts with their intervals.

    Args:
        score: takes counts float64 ``[n_records, n_resamples]`` and returns named
            arrays, each ``[n_resamples]`` or ``[k, n_resamples]``.
        n_records: number of records.
        n_resamples: number of resamples.
        seed: the same seed gives the same intervals.
        confidence: coverage, between 0 and 1.
        groups: ``[n_records]`` patients; whole patients are drawn then, as records of
            one patient are not independent. A record with an empty or missing name is a
            patient of its own. ``None`` draws records.

    Returns:
        One row per number (``k`` rows for an array of ``k``): ``metric, value, low,
        high, n_valid_resamples``.

    Raises:
        ConfigError: there is no resample, or the confidence is not between 0 and 1.
        EcgnbError: there is not one group per record.
    """
    if not 0 < confidence < 1:
        raise ConfigError(
            f"The confidence is {confidence}; give a number between 0 and 1, such as "
            "0.95."
        )
    values = score(np.ones((n_records, 1)))
    blocks = list(map(score, resample_counts(n_records, n_resamples, seed, groups)))
    rows = []
    for name, value in values.items():
        resampled = [np.atleast_2d(block[name]) for block in blocks]
        draws = np.concatenate(resampled, axis=1)  # [k, n_resamples]
        for number, drawn in zip(value.ravel(), draws, strict=True):
            valid = drawn[~np.isnan(drawn)]
            rows.append((name, number, *_percentiles(valid, confidence), valid.size))
    columns = ["metric", "value", "low", "high", "n_valid_resamples"]
    return pd.DataFrame(rows, columns=columns)


def _percentiles(draws: np.ndarray, confidence: float) -> tuple[float, float]:
    if not draws.size:
        return np.nan, np.nan
    outside = (1 - confidence) / 2  # on each side
    low, high = np.quantile(draws, [outside, (1 + confidence) / 2])
    return low, high


def resample_counts(
    n_records: int, n_resamples: int, seed: int, groups: Any = None
) -> Iterator[np.ndarray]:
    """Draw resamples and yield how often each record is in them, in blocks of bounded
    size.

    Each resample has its own generator, seeded with the seed and its number, so the
    block size changes nothing.

    Args:
        n_records: number of records.
        n_resamples: number of resamples.
        seed: seed of the resamples.
        groups: ``[n_records]`` patients that are drawn whole, or ``None``.

    Yields:
        float64 ``[n_records, n_resamples of this block]``.

    Raises:
        ConfigError: there is no resample.
        EcgnbError: there is not one group per record.
    """
    if n_resamples < 1:
        raise ConfigError(
            f"The number of resamples is {n_resamples}; give at least 1 (1000 is "
            "usual)."
        )
    unit_of_record = _sampling_units(groups, n_records)
    n_units = int(unit_of_record.max()) + 1
    width = max(1, _BLOCK_ENTRIES // n_records)
    for first in range(0, n_resamples, width):
        columns = []
        for number in range(first, min(first + width, n_resamples)):
            generator = np.random.default_rng([seed, number])
            drawn = generator.integers(0, n_units, n_units)  # with replacement
            columns.append(np.bincount(drawn, minlength=n_units))
        counts = np.stack(columns, axis=1).astype(np.float64)
        yield counts if groups is None else counts[unit_of_record]


def _sampling_units(groups: Any, n_records: int) -> np.ndarray:
    """Return the number of each record's unit: its patient, or the record itself where
    the patient is unknown.
    """
    if groups is None:
        return np.arange(n_records)
    names = pd.Series(groups)
    if len(names) != n_records:
        raise EcgnbError(
            f"There are {len(names)} groups for {n_records} records; give the patient "
            "of each record."
        )
    texts = names.astype(str)
    units, _ = pd.factorize(texts)
    # Numbers above those of all patients, one per record without a patient.
    own_units = n_records + np.arange(n_records)
    units = np.where(names.isna() | (texts == ""), own_units, units)
    return np.unique(units, return_inverse=True)[1]
