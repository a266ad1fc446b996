"""The few numbers of the validation split that a training is watched by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ecgnb.evaluation.calibration import probabilities_from_logits
from ecgnb.evaluation.metrics import evaluate


def validation_scores(targets: np.ndarray, logits: np.ndarray, classes: Sequence[str], task: str) -> dict[str, float]:
    """Return macro F1 and AUROC and those of each class, as columns of the history.

    Several labels are decided at 0.5 each; better thresholds are chosen after the training.

    Args:
        targets: int64 ``[n]`` class numbers, or {0, 1} ``[n, n_classes]``.
        logits: ``[n, n_classes]``.
        classes: names of the classes.
        task: ``"multiclass"`` or ``"multilabel"``.

    Returns:
        ``macro_f1``, ``macro_auroc``, ``f1_<class>`` ..., ``auroc_<class>`` ...; NaN where a class has no records
        (or nothing but them) and the number is not defined.
    """
    found = evaluate(targets, probabilities_from_logits(logits, task), tuple(classes), task)
    scores = {name: found["headline"][name] for name in ("macro_f1", "macro_auroc")}
    for name in ("f1", "auroc"):
        scores |= {f"{name}_{row['class']}": row[name] for row in found["per_class"]}
    return {name: math.nan if score is None else float(score) for name, score in scores.items()}
