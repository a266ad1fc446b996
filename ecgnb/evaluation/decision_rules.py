"""Decision rules: offset, temperature and thresholds between logits and decisions, all
chosen on validation records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ecgnb.evaluation.calibration import calibrated_probabilities, fit_temperature
from ecgnb.evaluation.prior import choose_strength
from ecgnb.evaluation.scorer import Scorer
from ecgnb.evaluation.thresholds import choose_thresholds

#: Numbers by which rules are compared; a task has one of the last two.
COMPARED = ("macro_f1", "micro_f1", "balanced_accuracy", "exact_match", "accuracy")
#: Name of the rule without correction, and with a threshold of 0.5 for each class.
PLAIN = "none"


@dataclass(frozen=True, eq=False)
class DecisionRule:
    """How logits become probabilities and decisions.

    Attributes:
        task: ``"multiclass"`` or ``"multilabel"``.
        strength: multiple of the log prior in the offset.
        logit_offset: float64 ``[n_classes]``, added to the logits.
        temperature: divisor of the logits after that.
        thresholds: ``[n_classes]``; ``None`` in multi-class tasks.
    """

    task: str
    strength: float
    logit_offset: np.ndarray
    temperature: float
    thresholds: np.ndarray | None

    def probabilities(self, logits: Any) -> np.ndarray:
        """Return calibrated probabilities of logits, both ``[n, n_classes]``."""
        return calibrated_probabilities(
            logits, self.task, self.temperature, self.logit_offset
        )


def fit_rule(
    logits: Any,
    targets: Any,
    task: str,
    criterion: str,
    prior: np.ndarray,
    n_balanced: int,
) -> DecisionRule:
    """Choose a decision rule on validation records.

    Args:
        logits: ``[n, n_classes]`` of validation records.
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        task: ``"multiclass"`` or ``"multilabel"``.
        criterion: what the decisions are optimised for, one of
            `ecgnb.evaluation.thresholds.CRITERIA`, or `PLAIN` for thresholds of 0.5 and
            no correction of the prior.
        prior: of the training records, from `ecgnb.evaluation.prior.log_prior`.
        n_balanced: how often the training balanced the classes; 0 corrects nothing.
    """
    strength = 0.0
    if n_balanced and criterion != PLAIN:
        strength = choose_strength(logits, targets, prior, task, criterion, n_balanced)
    offset = strength * prior
    temperature = fit_temperature(logits + offset, targets, task)
    thresholds = None
    if task == "multilabel" and criterion == PLAIN:
        thresholds = np.full(len(offset), 0.5)
    elif task == "multilabel":
        calibrated = calibrated_probabilities(logits, task, temperature, offset)
        thresholds = choose_thresholds(targets, calibrated, task, criterion)
    return DecisionRule(task, strength, offset, temperature, thresholds)


def compare_rules(
    rules: dict[str, DecisionRule],
    used: str,
    parts: dict[str, tuple[Any, Any]],
) -> list[dict[str, Any]]:
    """Measure what each rule would decide on several sets of records.

    Args:
        rules: criterion to its rule.
        used: the criterion in use.
        parts: name of a split to its logits and targets.

    Returns:
        One dict per rule and split: ``criterion, used, split``, in multi-class tasks
        ``strength``, and those of `COMPARED` that the task has; undefined ones are
        ``None``.
    """
    rows = []
    for criterion, rule in rules.items():
        for part, (logits, targets) in parts.items():
            probabilities = rule.probabilities(logits)
            scorer = Scorer(targets, probabilities, None, rule.task, rule.thresholds)
            numbers = scorer.headline(np.ones((len(probabilities), 1)))
            row: dict[str, Any] = {
                "criterion": criterion,
                "used": criterion == used,
                "split": part,
                "strength": rule.strength,
            }
            for name in COMPARED:
                if name in numbers:
                    value = float(numbers[name][0])
                    row[name] = None if np.isnan(value) else value
            rows.append(row)
    return rows
