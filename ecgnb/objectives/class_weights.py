"""Class weights: inverse class frequencies, scaled to a mean of 1 over the records."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ecgnb.core.errors import ConfigError, LabelError

SCHEMES: tuple[str, ...] = ("none", "balanced")


def class_weights(
    targets: np.ndarray, n_classes: int, task: str, scheme: str = "balanced"
) -> Tensor:
    """Return the weights of the classes, computed over the whole training split.

    Args:
        targets: int64 ``[n]`` class numbers (multiclass) or {0, 1} ``[n, n_classes]``
            (multilabel).
        n_classes: number of classes.
        task: ``"multiclass"`` or ``"multilabel"``.
        scheme: ``"none"``: all 1. ``"balanced"``: inverse to the number of records of
            the class, so that all classes have the same total weight.

    Returns:
        float32 ``[n_classes]`` for multiclass; ``[2, n_classes]`` for multilabel: the
        weight of an absent class in row 0, of a present one in row 1. The mean over the
        training records is 1 (for multilabel in every class), so the loss keeps its
        scale. A class without records has the weight 1.

    Raises:
        ConfigError: scheme or task is unknown.
        LabelError: targets do not fit ``n_classes``, or there are none.

    >>> class_weights(np.array([0, 0, 0, 1]), 2, "multiclass")
    tensor([0.6667, 2.0000])
    """
    targets = np.asarray(targets)
    if task == "multiclass":
        counts = _count_multiclass(targets, n_classes)
    elif task == "multilabel":
        counts = _count_multilabel(targets, n_classes)
    else:
        raise ConfigError(
            f"There is no task {task!r}; choose 'multiclass' or 'multilabel'."
        )
    if scheme not in SCHEMES:
        raise ConfigError(
            f"There is no class weighting {scheme!r}; "
            f"choose {', '.join(map(repr, SCHEMES))}."
        )
    raw = np.ones(counts.shape)
    if scheme == "balanced":
        raw /= np.maximum(counts, 1)
    # One mean over all classes (multiclass), or over absent and present per class.
    mean = (raw * counts).sum(0) / counts.sum(0)
    weights = np.where(counts > 0, raw / mean, 1.0)
    return torch.from_numpy(weights.astype(np.float32))


def _count_multiclass(targets: np.ndarray, n_classes: int) -> np.ndarray:
    if targets.ndim != 1 or len(targets) == 0 or targets.dtype.kind not in "iu":
        raise LabelError(
            "Multiclass targets are class numbers [n]; "
            f"these are {targets.shape} of {targets.dtype}."
        )
    if targets.min() < 0 or targets.max() >= n_classes:
        raise LabelError(
            f"Targets run from {targets.min()} to {targets.max()}, but there are "
            f"{n_classes} classes, numbered from 0."
        )
    return np.bincount(targets, minlength=n_classes)


def _count_multilabel(targets: np.ndarray, n_classes: int) -> np.ndarray:
    if targets.ndim != 2 or targets.shape[1] != n_classes or len(targets) == 0:
        raise LabelError(
            f"Multilabel targets are [n, {n_classes}] zeros and ones; "
            f"these have shape {targets.shape}."
        )
    if not np.isin(targets, (0, 1)).all():
        raise LabelError(
            "Multilabel targets must be 0 or 1; pass your own class weights for soft "
            "labels."
        )
    present = targets.astype(np.int64).sum(0)
    return np.stack([len(targets) - present, present])
