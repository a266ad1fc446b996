"""Predictions with ties for the tests of the evaluation."""

import numpy as np

NAMES = ("N", "A", "O", "~")


def multiclass(seed=0, n=300, n_classes=4, decimals=2):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, n_classes, n)
    logits = rng.normal(size=(n, n_classes)) + 1.5 * np.eye(n_classes)[targets]
    probabilities = np.exp(np.round(logits, decimals))  # rounded logits give ties
    return targets, probabilities / probabilities.sum(axis=1, keepdims=True)


def multilabel(seed=0, n=300, n_classes=4, decimals=2):
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, n_classes)) < np.linspace(0.1, 0.5, n_classes)).astype(
        int
    )
    return targets, np.round(
        np.clip(0.7 * rng.random((n, n_classes)) + 0.3 * targets, 0, 1), decimals
    )
