"""Bootstrap intervals against the common recipe: draw rows, call scikit-learn,
repeat.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import row
from ecgnb.evaluation.bootstrap import bootstrap, bootstrap_score, resample_counts
from ecgnb.evaluation.ranking import RankedClass, mean_defined

#: The size of the test fold of PTB-XL with all its statements.
N_RECORDS, N_CLASSES, N_RESAMPLES = 2200, 71, 1000
#: Seconds that a thousand resamples of the macro AUROC may take.
TARGET_S = 5.0


def run(quick: bool) -> list[dict[str, Any]]:
    """Time a thousand resamples of the macro AUROC, and of all headline numbers, on
    synthetic predictions.

    The scikit-learn loop is timed on fewer resamples and extrapolated, as its name in
    the rows says; both sides see the same resamples, and a difference of more than
    1e-12 between them is an error.

    Args:
        quick: time scikit-learn on 3 resamples instead of 20.

    Returns:
        Rows of `benchmarks.measure.row`.
    """
    truth, scores = _predictions()
    names = [f"class {k}" for k in range(N_CLASSES)]
    n_theirs = 3 if quick else 20
    theirs, expected = _scikit_learn_loop(truth, scores, n_theirs)
    ours, macro = _timed(lambda: _macro_auroc(truth, scores))
    worst = float(np.abs(macro[:n_theirs] - expected).max())
    if worst > 1e-12:
        raise AssertionError(
            f"The macro AUROC of a resample differs from scikit-learn's by {worst:.1e}."
        )
    whole, _ = _timed(
        lambda: bootstrap(truth, scores, names, "multilabel", n_resamples=N_RESAMPLES)
    )
    what = f"{N_RESAMPLES} resamples, {N_CLASSES} classes (theirs from {n_theirs})"
    return [
        row(f"macro AUROC, {what}", ours, theirs, "s", f"<= {TARGET_S:g} s"),
        row(f"all headline numbers, {N_RESAMPLES} resamples", whole, None, "s", ""),
    ]


def _predictions() -> tuple[np.ndarray, np.ndarray]:
    """Make labels from rare to common, as in PTB-XL, and scores with a few ties."""
    rng = np.random.default_rng(0)
    truth = rng.random((N_RECORDS, N_CLASSES)) < np.geomspace(0.005, 0.4, N_CLASSES)
    truth[0], truth[1] = True, False
    return truth.astype(np.int64), np.round(
        np.clip(0.75 * rng.random(truth.shape) + 0.25 * truth, 0, 1), 4
    )


def _macro_auroc(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    ranked = [RankedClass(truth[:, k] == 1, scores[:, k]) for k in range(N_CLASSES)]
    kept: list[np.ndarray] = []

    def score(counts: np.ndarray) -> dict[str, np.ndarray]:
        kept.append(mean_defined(np.stack([one.areas(counts)[0] for one in ranked])))
        return {"macro_auroc": kept[-1]}

    bootstrap_score(score, N_RECORDS, n_resamples=N_RESAMPLES, seed=0)
    return np.concatenate(kept[1:])  # the first call counts each record once


def _scikit_learn_loop(
    truth: np.ndarray, scores: np.ndarray, n: int
) -> tuple[float, np.ndarray]:
    """Return the seconds that all resamples would take, and the macro AUROC of the
    first ``n``.
    """
    from sklearn.metrics import roc_auc_score

    counts = next(resample_counts(N_RECORDS, n, seed=0))
    rows = [np.repeat(np.arange(N_RECORDS), counts[:, k].astype(int)) for k in range(n)]
    started = time.perf_counter()
    values = []
    for drawn in rows:
        y, s = truth[drawn], scores[drawn]
        present = y.any(axis=0) & ~y.all(axis=0)
        values.append(roc_auc_score(y[:, present], s[:, present], average="macro"))
    return (time.perf_counter() - started) / n * N_RESAMPLES, np.array(values)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the median seconds of three runs, and the result."""
    spent = []
    for _ in range(3):
        started = time.perf_counter()
        result = work()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent), result
