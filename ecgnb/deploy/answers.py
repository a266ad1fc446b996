"""From the logits of windows to what is said of a recording: probabilities, and the classes that are called."""

from __future__ import annotations

from typing import Any

import numpy as np

from ecgnb.deploy.bundle import Bundle
from ecgnb.errors import ConfigError
from ecgnb.evaluation.calibration import apply_temperature, probabilities_from_logits
from ecgnb.evaluation.thresholds import decide


def window_probabilities(bundle: Bundle, logits: np.ndarray) -> np.ndarray:
    """Return calibrated probabilities of logits, both ``[n_windows, n_classes]``.

    Raises:
        EcgnbError: a logit is NaN or infinite.
    """
    return probabilities_from_logits(apply_temperature(logits, bundle.temperature), bundle.task)


def join_windows(bundle: Bundle, probabilities: np.ndarray) -> np.ndarray:
    """Join the probabilities of a recording's windows ``[n_windows, n_classes]`` to its own, ``[n_classes]``.

    Each class takes the mean or the maximum, as the bundle says; classes that exclude each other are scaled to a sum
    of 1 afterwards.
    """
    if not bundle.aggregate:
        return probabilities[0]
    rules = np.array(bundle.aggregate)
    joined = np.where(rules == "max", probabilities.max(axis=0), probabilities.mean(axis=0))
    return joined / joined.sum() if bundle.task == "multiclass" else joined


def called_classes(bundle_classes: tuple[str, ...], task: str, probabilities: np.ndarray, thresholds: Any) -> list[str]:
    """Name what is called for each record ``[n, n_classes]``: one class, or for multilabel all, joined with ``|``."""
    decisions = decide(probabilities, task, thresholds)
    if task == "multiclass":
        return [bundle_classes[number] for number in decisions]
    return ["|".join(name for name, called in zip(bundle_classes, row, strict=True) if called) for row in decisions]


def require_classes(bundle: Bundle) -> None:
    """Refuse a pretrained model, which calls no classes, with a `ConfigError`."""
    if not bundle.classes:
        raise ConfigError(
            "This model is pretrained and has no classifier, so it predicts nothing. It gives embeddings: "
            "`ecgnb predict --embeddings --out FOLDER`, or ecgnb.infer_recordings(files, run=..., embeddings=True)."
        )
