"""Intervals by the bootstrap: how much would a number move, had other records of the
same kind been drawn.

Percentile intervals (Efron and Tibshirani 1993, "An introduction to the bootstrap",
chapter 13). A resample in which a class lacks an outcome leaves that class out of the
macro averages of this resample, so they are what scikit-learn gives on the classes that
are present. A resample that does not define a number at all is left out of that
number's interval; ``n_valid_resamples`` says how many were not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.evaluation.arrays import check_inputs
from ecgnb.evaluation.scorer import Scorer

#: Numbers per class that get an interval.
PER_CLASS_METRICS = (
    "auroc",
    "average_precision",
    "precision",
    "recall",
    "specificity",
    "f1",
)
#: Entries of one block of counts; 8 MB, so that memory does not grow with records times
#: resamples.
_BLOCK_ENTRIES = 1 << 20

#: Counts ``[n, n_resamples]`` to numbers ``[..., n_resamples]``.
Score = Callable[[np.ndarray], dict[str, np.ndarray]]


def bootstrap(
    targets: Any,
    probabilities: Any,
    classes: tuple[str, ...] | list[str],
    task: str,
    thresholds: Any = None,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    groups: Any = None,
) -> pd.DataFrame:
    """Return every headline number with its bootstrap interval.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        classes: names of the columns.
        task: ``"multiclass"`` or ``"multilabel"``.
        thresholds: ``[n_classes]`` for multi-label tasks (chosen on validation),
            ``None`` for 0.5.
        n_resamples: number of resamples.
        seed: the same seed gives the same intervals.
        confidence: coverage, between 0 and 1.
        groups: ``[n]`` patients. Given, whole patients are drawn, as records of one
            patient are not independent; an empty or missing name is a patient of its
            own.

    Returns:
        A row a headline number: ``metric, value, low, high, n_valid_resamples``.

    Raises:
        EcgnbError, LabelError, ConfigError: as `check_inputs` tells; also for a wrong
            number of resamples or groups.
    """
    scorer = Scorer(check_inputs(targets, probabilities, classes, task), thresholds)
    return bootstrap_score(
        scorer.headline,
        len(scorer.decided),
        n_resamples=n_resamples,
        seed=seed,
        confidence=confidence,
        groups=groups,
    )


def bootstrap_per_class(
    targets: Any,
    probabilities: Any,
    classes: tuple[str, ...] | list[str],
    task: str,
    thresholds: Any = None,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    groups: Any = None,
) -> pd.DataFrame:
    """Return the numbers of each class (`PER_CLASS_METRICS`) with their bootstrap
    intervals.

    Arguments and errors are those of `bootstrap`.

    Returns:
        A row a class and number: ``class, metric, value, low, high,
        n_valid_resamples``.
    """
    scorer = Scorer(check_inputs(targets, probabilities, classes, task), thresholds)

    def score(counts: np.ndarray) -> dict[str, np.ndarray]:
        each = scorer.per_class(counts)
        return {name: each[name] for name in PER_CLASS_METRICS}

    table = bootstrap_score(
        score,
        len(scorer.decided),
        n_resamples=n_resamples,
        seed=seed,
        confidence=confidence,
        groups=groups,
    )
    table.insert(0, "class", list(scorer.inputs.classes) * len(PER_CLASS_METRICS))
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
    """Return any numbers that are functions of how often each record counts, with their
    intervals.

    Args:
        score: takes counts float64 ``[n_records, n_resamples]`` and returns named
            arrays, each ``[n_resamples]`` or ``[k, n_resamples]``.
        n_records: number of records.
        n_resamples: number of resamples.
        seed: seed of the resamples.
        confidence: coverage, between 0 and 1.
        groups: ``[n_records]`` patients, or ``None``.

    Returns:
        A row a number (``k`` rows for an array of ``k``): ``metric, value, low, high,
        n_valid_resamples``.

    Raises:
        ConfigError: there is no resample, or the confidence is not between 0 and 1.
        EcgnbError: there is not one group a record.
    """
    if not 0 < confidence < 1:
        raise ConfigError(
            f"The confidence is {confidence}; give a number between 0 and 1, such as 0.95."
        )
    values = score(np.ones((n_records, 1)))
    blocks = [
        score(counts)
        for counts in resample_counts(n_records, n_resamples, seed, groups)
    ]
    tables = []
    for name, value in values.items():
        resampled = np.concatenate(
            [np.atleast_2d(block[name]) for block in blocks], axis=1
        )
        tables.append(
            _intervals(name, np.atleast_2d(value)[:, 0], resampled, confidence)
        )
    return pd.concat(tables, ignore_index=True)


def resample_counts(
    n_records: int, n_resamples: int, seed: int, groups: Any = None
) -> Iterator[np.ndarray]:
    """Draw resamples and yield how often each record is in them, in blocks of bounded
    size.

    Each resample has a generator of its own, made of the seed and its number, so the
    blocks change nothing.

    Args:
        n_records: number of records.
        n_resamples: number of resamples.
        seed: seed of the resamples.
        groups: ``[n_records]`` patients to be drawn whole, or ``None``.

    Yields:
        float64 ``[n_records, n_resamples of this block]``.

    Raises:
        ConfigError: there is no resample.
        EcgnbError: there is not one group a record.
    """
    if n_resamples < 1:
        raise ConfigError(
            f"The number of resamples is {n_resamples}; give at least 1 (1000 is usual)."
        )
    unit_of = _units(groups, n_records)
    n_units = int(unit_of.max()) + 1
    width = max(1, _BLOCK_ENTRIES // n_records)
    for first in range(0, n_resamples, width):
        numbers = range(first, min(first + width, n_resamples))
        drawn = np.stack([_draw(n_units, seed, number) for number in numbers], axis=1)
        yield drawn if groups is None else drawn[unit_of]


def _draw(n_units: int, seed: int, number: int) -> np.ndarray:
    drawn = np.random.default_rng([seed, number]).integers(0, n_units, n_units)
    return np.bincount(drawn, minlength=n_units).astype(np.float64)


def _units(groups: Any, n_records: int) -> np.ndarray:
    """Number the units that are drawn: patients, or records where the patient is not
    known.
    """
    if groups is None:
        return np.arange(n_records)
    names = pd.Series(groups).reset_index(drop=True)
    if len(names) != n_records:
        raise EcgnbError(
            f"There are {len(names)} groups for {n_records} records; give the patient of each record."
        )
    unknown = names.isna() | (names.astype(str) == "")
    keys = names.astype(str).where(~unknown, "")
    codes, _ = pd.factorize(keys)
    codes = np.asarray(codes, dtype=np.int64).copy()
    codes[unknown.to_numpy()] = codes.max() + 1 + np.arange(int(unknown.sum()))
    return np.unique(codes, return_inverse=True)[1].reshape(-1)


def _intervals(
    name: str, values: np.ndarray, resampled: np.ndarray, confidence: float
) -> pd.DataFrame:
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    rows = []
    for value, draws in zip(values, resampled, strict=True):
        valid = draws[~np.isnan(draws)]
        low, high = np.quantile(valid, tails) if valid.size else (np.nan, np.nan)
        rows.append(
            {
                "metric": name,
                "value": value,
                "low": low,
                "high": high,
                "n_valid_resamples": valid.size,
            }
        )
    return pd.DataFrame(rows)
