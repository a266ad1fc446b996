"""The score of the PhysioNet/CinC Challenges 2020 and 2021, which forgives confusions
that would be treated alike.

Alday et al. 2020 ("Classification of 12-lead ECGs: the PhysioNet/Computing in
Cardiology Challenge 2020", Physiological Measurement) and Reyna et al. 2021 ("Will two
do? Varying dimensions in electrocardiography: the PhysioNet/Computing in Cardiology
Challenge 2021"). Each pair of a class that a record has and a class that it was called
earns the pair's weight, divided by the number of classes that the record has or was
called. The sum is scaled so that always calling sinus rhythm alone gives 0 and calling
exactly the true classes gives 1; it can be negative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.registry import did_you_mean
from ecgnb.evaluation.arrays import one_hot
from ecgnb.evaluation.ranking import ratio

#: SNOMED CT code of sinus rhythm, the class of the inactive model.
SINUS_RHYTHM = "426783006"


def challenge_score(
    targets: Any,
    decisions: Any,
    weights: Any,
    classes: tuple[str, ...] | list[str],
    normal_class: str = SINUS_RHYTHM,
) -> float:
    """Return the Challenge score of a set of decisions.

    Args:
        targets: 0/1 ``[n, n_classes]``.
        decisions: 0/1 ``[n, n_classes]``.
        weights: ``[n_classes, n_classes]``, rows the truth and columns the decision.
        classes: names of rows and columns, in the order of the columns of ``targets``.
        normal_class: the class that the inactive model calls. A class that stands for several codes (``"a|b"``) is
            found by any of them.

    Returns:
        1 for perfect decisions, 0 for the inactive model; NaN where these two earn the
        same, as when every record is sinus rhythm alone.

    Raises:
        EcgnbError: shapes disagree, there are no records, or weights are not finite.
        LabelError: a value is not 0 or 1.
        ConfigError: the normal class is not among the classes.
    """
    score = challenge_scorer(targets, decisions, weights, classes, normal_class)
    return float(score(np.ones((len(targets), 1)))["challenge_score"][0])


def challenge_scorer(
    targets: Any,
    decisions: Any,
    weights: Any,
    classes: tuple[str, ...] | list[str],
    normal_class: str = SINUS_RHYTHM,
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return the Challenge score as a function of how often each record counts, for
    `bootstrap_score`.

    Arguments and errors are those of `challenge_score`.

    Returns:
        A function from counts ``[n, n_resamples]`` to ``{"challenge_score":
        [n_resamples]}``.
    """
    matrix = np.asarray(weights, dtype=np.float64)
    if matrix.shape != (len(classes), len(classes)) or not np.isfinite(matrix).all():
        raise EcgnbError(
            f"The weights have shape {matrix.shape} or hold NaN; {len(classes)} classes need a full square."
        )
    shape = np.shape(targets)
    if len(shape) != 2 or shape[0] == 0 or shape[1] != len(classes):
        raise EcgnbError(
            f"The targets have shape {shape}; at least one record and {len(classes)} columns are needed."
        )
    truth, called = (
        one_hot(targets, shape, "multilabel"),
        one_hot(decisions, shape, "multilabel"),
    )
    inactive = np.zeros(shape, dtype=bool)
    inactive[:, _index_of(normal_class, classes)] = True
    reached, perfect, nothing = (
        _earned(truth, other, matrix) for other in (called, truth, inactive)
    )

    def score(counts: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "challenge_score": ratio(
                (reached - nothing) @ counts, (perfect - nothing) @ counts
            )
        }

    return score


def _earned(truth: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return what each record earns, float64 ``[n]``."""
    either = np.maximum((truth | called).sum(axis=1), 1)
    return ((truth @ weights) * called).sum(axis=1) / either


def _index_of(name: str, classes: tuple[str, ...] | list[str]) -> int:
    for index, one in enumerate(classes):
        if name == one or name in one.split("|"):
            return index
    hint = did_you_mean(name, list(classes))
    raise ConfigError(
        f"The class of the inactive model, {name!r}, is not among the {len(classes)} classes.{hint}"
    )
