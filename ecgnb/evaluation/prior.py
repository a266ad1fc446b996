"""Prior correction: a multiple of the log prior, added to logits of balanced models.

A training with balanced class weights, or with balanced sampling, learns p(y | x) as if
all classes were equally frequent, and calls rare ones too often. Its probabilities
become those of the data when each is multiplied by the prior of its class (Saerens et
al. 2002, "Adjusting the outputs of a classifier to new a priori probabilities", Neural
Computation): log prior is added to the logits. A part of it is often better for
decisions (Menon et al. 2021, "Long-tail learning via logit adjustment", ICLR, with the
multiple tau), so how much is chosen on validation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ecgnb.evaluation.arrays import check_scores, one_hot
from ecgnb.evaluation.calibration import (
    calibrated_probabilities,
    fit_temperature,
    probabilities_from_logits,
)
from ecgnb.evaluation.scorer import Scorer

#: Steps from no correction to one whole log prior.
STEPS = 20
#: Headline number that measures a criterion; in multi-class tasks micro F1 and exact
#: matches are the accuracy, Youden's index is a linear function of the mean recall.
MULTICLASS_CRITERIA = {
    "macro_f1": "macro_f1",
    "micro_f1": "accuracy",
    "exact_match": "accuracy",
    "youden": "balanced_accuracy",
}


def log_prior(targets: Any, n_classes: int, task: str) -> np.ndarray:
    """Return what a whole correction adds to the logits, float64 ``[n_classes]``.

    Args:
        targets: of the training records, int ``[n]`` or 0/1 ``[n, n_classes]``.
        n_classes: number of classes.
        task: ``"multiclass"``: log of each class's share; ``"multilabel"``: log odds of
            each class. A class without records, or in all of them, counts as half a
            record, since log 0 would exclude it.

    >>> log_prior([0, 0, 0, 1], 2, "multiclass").round(4).tolist()
    [-0.2877, -1.3863]
    """
    truth = one_hot(targets, (len(targets), n_classes), task)
    n = len(truth)
    present = np.maximum(truth.sum(axis=0), 0.5)
    if task == "multiclass":
        return np.log(present / n)
    return np.log(present / np.maximum(n - present, 0.5))


def choose_strength(
    logits: Any,
    targets: Any,
    prior: np.ndarray,
    task: str,
    criterion: str = "macro_f1",
    largest: int = 1,
) -> float:
    """Choose on validation records how much of the log prior is added to the logits.

    Multi-class: the strength with the best decisions by the criterion; of equally good
    ones that of the highest likelihood, after the temperature. Multi-label: that of the
    highest likelihood, since thresholds decide there. Then the smallest.

    Args:
        logits: ``[n, n_classes]`` of validation records.
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        prior: from `log_prior`.
        task: ``"multiclass"`` or ``"multilabel"``.
        criterion: one of `ecgnb.evaluation.thresholds.CRITERIA`.
        largest: largest strength: how often the classes were balanced, 2 with balanced
            weights and balanced sampling.

    Returns:
        A multiple of 1 / `STEPS` from 0 to ``largest``.
    """
    scores = check_scores(logits, "logits")
    strengths = np.arange(largest * STEPS + 1) / STEPS
    if task == "multiclass":
        quality = [
            _quality(scores + strength * prior, targets, criterion)
            for strength in strengths
        ]
        strengths = strengths[np.array(quality) == np.nanmax(quality)]
    losses = []
    for strength in strengths:
        losses.append(_log_loss(scores + strength * prior, targets, task))
    return float(strengths[np.argmin(losses)])


def _quality(logits: np.ndarray, targets: Any, criterion: str) -> float:
    probabilities = probabilities_from_logits(logits, "multiclass")
    scorer = Scorer(targets, probabilities, None, "multiclass")
    once = np.ones((len(logits), 1))
    return float(scorer.headline(once)[MULTICLASS_CRITERIA[criterion]][0])


def _log_loss(logits: np.ndarray, targets: Any, task: str) -> float:
    """Return the mean negative log-likelihood with the best temperature."""
    truth = one_hot(targets, logits.shape, task)
    temperature = fit_temperature(logits, targets, task)
    probabilities = calibrated_probabilities(logits, task, temperature)
    of_outcome = np.where(truth, probabilities, 1 - probabilities)
    if task == "multiclass":
        of_outcome = probabilities[truth]
    return float(-np.log(np.maximum(of_outcome, 1e-300)).mean())
