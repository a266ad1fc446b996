"""The PhysioNet/CinC Challenge score, for runs on the Challenges' own classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ecgnb.run import Run

#: Challenges whose scored classes have published weights: data set, year.
YEARS = {"cinc2020": 2020, "cinc2021": 2021}


def challenge_scorer_of(
    run: Run, targets: np.ndarray, decisions: np.ndarray
) -> Callable[[np.ndarray], dict[str, np.ndarray]] | None:
    """Return the Challenge score of a run as a function of record counts; None where it is not defined.

    It is defined for the data sets of the Challenges with all their scored classes, in any order.
    """
    from ecgnb.data.catalog.cinc2020 import NORMAL_CLASS, challenge_weights
    from ecgnb.evaluation.challenge import challenge_scorer

    year = YEARS.get(run.config.data.name)
    if year is None or run.task != "multilabel":
        return None
    classes, weights = challenge_weights(year)
    if set(run.classes) != set(classes):
        return None
    order = [classes.index(name) for name in run.classes]
    return challenge_scorer(targets, decisions, weights[np.ix_(order, order)], run.classes, NORMAL_CLASS)
