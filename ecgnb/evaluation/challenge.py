"""Official scores of the PhysioNet/CinC Challenges of 2017, 2020 and 2021.

2017 (Clifford et al. 2017, doi:10.22489/CinC.2017.065-469; ``score2017Challenge.m``):
the mean F1 of normal rhythm, atrial fibrillation and other rhythm. Noisy recordings
count as errors of the other classes, not as a class of their own.

2020 and 2021: accuracy weighted by how alike two classes are treated. Alday et al. 2020
("Classification of 12-lead ECGs: the PhysioNet/Computing in Cardiology Challenge 2020",
Physiological Measurement) and Reyna et al. 2021 ("Will two do? Varying dimensions in
electrocardiography: the PhysioNet/Computing in Cardiology Challenge 2021"). Each pair
of a true class and a called class of a record earns the pair's weight, divided by the
number of classes that are true or called. The sum is scaled so that always calling
sinus rhythm alone gives 0 and calling exactly the true classes gives 1; it can be
negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.registry import did_you_mean
from ecgnb.evaluation.arrays import one_hot
from ecgnb.evaluation.bootstrap import Score
from ecgnb.evaluation.ranking import ratio

#: SNOMED CT code of sinus rhythm, the class that the inactive model calls.
SINUS_RHYTHM = "426783006"


def challenge_scorer(
    targets: Any,
    decisions: Any,
    weights: Any,
    classes: Sequence[str],
    normal_class: str = SINUS_RHYTHM,
) -> Score:
    """Return the Challenge score as a function of record counts, for `bootstrap_score`.

    Args:
        targets: 0/1 ``[n, n_classes]``.
        decisions: 0/1 ``[n, n_classes]``.
        weights: ``[n_classes, n_classes]``, rows the truth and columns the decision.
        classes: names of rows and columns, in the order of the columns of ``targets``.
        normal_class: the class that the inactive model calls; any code of a class of
            several codes (``"a|b"``) selects it.

    Returns:
        A function from counts ``[n, n_resamples]`` to ``{"challenge_score":
        [n_resamples]}``: 1 for perfect decisions, 0 for the inactive model; NaN where
        these two earn the same, as when every record is sinus rhythm alone.

    Raises:
        EcgnbError: shapes disagree, there are no records, or weights are not finite.
        LabelError: a value is not 0 or 1.
        ConfigError: the normal class is not among the classes.
    """
    n_classes = len(classes)
    matrix = np.asarray(weights, dtype=np.float64)
    if matrix.shape != (n_classes, n_classes) or not np.isfinite(matrix).all():
        raise EcgnbError(
            f"The weights have shape {matrix.shape} or contain NaN; {n_classes} "
            f"classes require finite weights [{n_classes}, {n_classes}]."
        )
    shape = np.shape(targets)
    if len(shape) != 2 or shape[0] == 0 or shape[1] != n_classes:
        raise EcgnbError(
            f"The targets have shape {shape}; at least one record and {n_classes} "
            "columns are required."
        )
    truth = one_hot(targets, shape, "multilabel")
    called = one_hot(decisions, shape, "multilabel")
    inactive = np.zeros(shape, dtype=bool)
    inactive[:, _class_index(normal_class, classes)] = True  # always sinus rhythm alone
    baseline = _earned(truth, inactive, matrix)
    gain = _earned(truth, called, matrix) - baseline
    best_gain = _earned(truth, truth, matrix) - baseline

    def score(counts: np.ndarray) -> dict[str, np.ndarray]:
        return {"challenge_score": ratio(gain @ counts, best_gain @ counts)}

    return score


#: Classes of the Challenge of 2017 whose F1 is averaged: normal, fibrillation, other.
RHYTHM_CLASSES = ("N", "A", "O")


def rhythm_f1_scorer(targets: Any, decisions: Any, classes: Sequence[str]) -> Score:
    """Return the score of the Challenge of 2017 as a function of record counts, for
    `bootstrap_score`.

    F1 of a class is 2 x right / (true + called), as in the official script.

    Args:
        targets: int ``[n]`` class numbers.
        decisions: int ``[n]`` class numbers.
        classes: names of the classes, among them `RHYTHM_CLASSES`.

    Returns:
        A function from counts ``[n, n_resamples]`` to ``{"challenge_f1":
        [n_resamples]}``; NaN where one of the three classes is neither true nor called.

    Raises:
        ConfigError: one of the three classes is not among the classes.
        EcgnbError, LabelError: the two are not class numbers of one length.
    """
    missing = [name for name in RHYTHM_CLASSES if name not in classes]
    if missing:
        raise ConfigError(
            f"The score of the Challenge of 2017 needs the classes "
            f"{', '.join(RHYTHM_CLASSES)}; {', '.join(missing)} is not among "
            f"{', '.join(classes)}."
        )
    columns = [list(classes).index(name) for name in RHYTHM_CLASSES]
    shape = (len(targets), len(classes))
    truth = one_hot(targets, shape, "multiclass")[:, columns]  # [n, 3]
    called = one_hot(decisions, shape, "multiclass")[:, columns]

    def score(counts: np.ndarray) -> dict[str, np.ndarray]:
        right = (truth & called).T @ counts  # [3, n_resamples]
        total = truth.T @ counts + called.T @ counts
        return {"challenge_f1": ratio(2 * right, total).mean(axis=0)}

    return score


def _earned(truth: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weight that each record earns, float64 ``[n]``."""
    n_either = (truth | called).sum(axis=1)
    weight_of_pairs = ((truth @ weights) * called).sum(axis=1)
    return weight_of_pairs / np.maximum(n_either, 1)


def _class_index(name: str, classes: Sequence[str]) -> int:
    for index, codes in enumerate(classes):
        if name == codes or name in codes.split("|"):
            return index
    raise ConfigError(
        f"The class of the inactive model, {name!r}, is not among the {len(classes)} "
        f"classes.{did_you_mean(name, classes)}"
    )
