"""Score intervals: Wilson, Newcombe's AUROC, F1 and means, which never collapse.

A bootstrap of records that are all right gives an interval of zero width, however few
they are. The intervals here solve for the values that the observation does not
contradict, so that 3 of 3 gives 0.44 to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

from ecgnb.evaluation.ranking import ratio

#: Halvings of the distance between an AUROC and 0 or 1; 2**-60 is below rounding.
_BISECTIONS = 60

#: Lower and upper ends, arrays of one shape.
Bounds = tuple[np.ndarray, np.ndarray]


def normal_quantile(confidence: float) -> float:
    """Return the quantile z of a two-sided normal interval: 1.96 for 0.95."""
    return float(ndtri((1 + confidence) / 2))


def wilson_interval(hits: Any, count: Any, confidence: float = 0.95) -> Bounds:
    """Return the score interval of a proportion (Wilson 1927, "Probable inference, the
    law of succession, and statistical inference").

    Args:
        hits: successes, any shape; need not be whole numbers.
        count: trials, the same shape.
        confidence: coverage, between 0 and 1.

    Returns:
        Lower and upper ends; NaN where ``count`` is 0.

    >>> [round(float(end), 3) for end in wilson_interval(3, 3)]
    [0.439, 1.0]
    """
    z = normal_quantile(confidence)
    z_squared = z * z
    share = ratio(hits, count)
    variance = share * (1 - share) * count  # of the number of hits
    spread = z * np.sqrt(variance + z_squared / 4)
    middle = hits + z_squared / 2
    low = (middle - spread) / (count + z_squared)
    high = (middle + spread) / (count + z_squared)
    # Exact at the ends, where rounding would leave 1e-17.
    low = np.where(share == 0, 0.0, np.clip(low, 0, 1))
    high = np.where(share == 1, 1.0, np.clip(high, 0, 1))
    return low, high


def f1_interval(hits: Any, count: Any, confidence: float = 0.95) -> Bounds:
    """Return the interval of F1 by way of F* (the "Wilson indirect" method of Lam 2023,
    "Confidence intervals for the F1 score: a comparison of four methods").

    F* is the share of hits among the records that are positive, called or both (Hand et
    al. 2021, "F*: an interpretable transformation of the F-measure"): a proportion, of
    which F1 = 2 F* / (1 + F*) is a rising function.

    Args:
        hits: true positives, any shape.
        count: records that are positive, called or both, the same shape.
        confidence: coverage, between 0 and 1.
    """
    low, high = wilson_interval(hits, count, confidence)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def auroc_interval(
    auroc: Any, n_positive: Any, n_negative: Any, confidence: float = 0.95
) -> Bounds:
    """Return Newcombe's score interval of an AUROC, his method 5 (Newcombe 2006,
    "Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic. Part 2", Statistics in Medicine).

    Its ends are the areas A whose distance from the observed one is z times the
    standard error that A itself would have: that of Hanley and McNeil 1982 with their
    exponential model, both sample sizes replaced by their mean where they count alike.

    Args:
        auroc: observed areas, any shape.
        n_positive: positives, the same shape.
        n_negative: negatives.
        confidence: coverage, between 0 and 1.

    Returns:
        Lower and upper ends; NaN where the area is NaN.

    >>> [round(float(end), 3) for end in auroc_interval(1.0, 3, 300)]
    [0.706, 1.0]
    """
    z = normal_quantile(confidence)
    observed = np.asarray(auroc, dtype=np.float64)
    m = np.maximum(n_positive, 1.0)  # an area without positives is NaN anyway
    n = np.maximum(n_negative, 1.0)
    ends = []
    for limit in (0.0, 1.0):
        # The distance shrinks towards the observed area while z standard errors do not:
        # bisect between an area inside the interval and the limit.
        inside, outside = observed.copy(), np.full(observed.shape, limit)
        for _ in range(_BISECTIONS):
            middle = (inside + outside) / 2
            error = np.sqrt(_auroc_variance(middle, m, n))
            is_inside = np.abs(middle - observed) <= z * error
            inside = np.where(is_inside, middle, inside)
            outside = np.where(is_inside, outside, middle)
        ends.append(np.where(np.isnan(observed), np.nan, inside))
    return ends[0], np.where(observed == 1, 1.0, ends[1])


def _auroc_variance(area: np.ndarray, m: np.ndarray, n: np.ndarray) -> np.ndarray:
    mean_size = (m + n) / 2
    dependence = (1 - area) / (2 - area) + area / (1 + area)
    return area * (1 - area) * (1 + (mean_size - 1) * dependence) / (m * n)


def mean_interval(
    values: np.ndarray, low: np.ndarray, high: np.ndarray, weights: Any = None
) -> Bounds:
    """Return the interval of a weighted mean of numbers with intervals of their own
    (Zou et al. 2009, "A note on confidence interval estimation for a linear function
    of binomial proportions").

    The distances of the ends from the numbers are added in squares, as standard errors
    of independent numbers are, but on either side for itself.

    Args:
        values: ``[k]``; NaN ones are left out.
        low: their lower ends ``[k]``.
        high: their upper ends ``[k]``.
        weights: ``[k]``, none below 0; all alike by default.

    Returns:
        Lower and upper end, NaN where all values are.
    """
    share = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    share = np.where(np.isnan(values), 0.0, share)
    share = ratio(share, share.sum())
    mean = np.nansum(share * values)
    below = np.sqrt(np.nansum((share * (values - low)) ** 2))
    above = np.sqrt(np.nansum((share * (high - values)) ** 2))
    if np.isnan(share).any():
        return np.array(np.nan), np.array(np.nan)
    return mean - below, mean + above


def effective_size(hits: Any, count: Any) -> np.ndarray:
    """Return how many independent trials the trials of some patients are worth (Korn
    and Graubard 1998, "Confidence intervals for proportions with small expected number
    of positive counts estimated from survey data").

    It is p (1 - p) over the variance of the proportion between patients; at most the
    number of trials, and at least the number that it would be if all trials of a
    patient had one outcome: (sum of c)^2 / sum of c^2 for c trials of each (Kish 1965,
    "Survey sampling"). The latter also where all trials agree, which shows nothing of
    the variance.

    Args:
        hits: successes of each patient ``[n_patients, ...]``.
        count: trials of each patient, the same shape.

    Returns:
        ``[...]``; with one trial for each patient exactly the number of trials.
    """
    hits, count = np.asarray(hits, dtype=np.float64), np.asarray(count, float)
    trials = count.sum(axis=0)
    fewest = ratio(trials**2, (count**2).sum(axis=0), undefined=0.0)
    share = ratio(hits.sum(axis=0), trials, undefined=0.0)
    n_patients = (count > 0).sum(axis=0)
    correction = ratio(n_patients, n_patients - 1, undefined=0.0)
    squares = ((hits - share * count) ** 2).sum(axis=0)
    variance = ratio(squares * correction, trials**2, undefined=0.0)
    size = ratio(share * (1 - share), variance, undefined=np.inf)
    size = np.clip(size, fewest, trials)
    # A single patient, or all trials alike, shows no variance between patients.
    unknown = (n_patients < 2) | (share == 0) | (share == 1)
    return np.where(unknown, fewest, size)
