"""The few numbers of the validation split that a training is watched by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def validation_scores(targets: np.ndarray, logits: np.ndarray, classes: Sequence[str], task: str) -> dict[str, float]:
    from sklearn.metrics import f1_score, roc_auc_score

    if task == "multiclass":
        pred = np.eye(len(classes))[logits.argmax(1)]
        t = np.eye(len(classes))[targets]
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
    else:
        t = targets
        p = 1 / (1 + np.exp(-logits))
        pred = p >= 0.5
    f1 = [f1_score(t[:, i], pred[:, i], zero_division=0) for i in range(len(classes))]
    auc = [roc_auc_score(t[:, i], p[:, i]) if 0 < t[:, i].sum() < len(t) else np.nan for i in range(len(classes))]
    return {
        "macro_f1": float(np.mean(f1)),
        "macro_auroc": float(np.nanmean(auc)),
        **{f"f1_{c}": float(v) for c, v in zip(classes, f1)},
        **{f"auroc_{c}": float(v) for c, v in zip(classes, auc)},
    }
