"""Input checks: shapes and values of targets, probabilities and class names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecgnb.core.errors import ConfigError, EcgnbError, LabelError

#: One class per record, or any number of classes per record.
TASKS = ("multiclass", "multilabel")
#: How far the probabilities of a multi-class record may be from summing to 1; half
#: precision needs this much.
_SUM_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Inputs:
    """Checked arrays of one evaluation.

    Attributes:
        truth: bool ``[n, n_classes]``, one-hot for multi-class tasks.
        probabilities: float64 ``[n, n_classes]``.
        classes: names of the columns.
        task: ``"multiclass"`` or ``"multilabel"``.
    """

    truth: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]
    task: str


def check_inputs(
    targets: Any, probabilities: Any, classes: Sequence[str] | None, task: str
) -> Inputs:
    """Check targets, probabilities and class names against each other.

    Args:
        targets: int ``[n]`` class numbers (multi-class) or 0/1 ``[n, n_classes]``
            (multi-label).
        probabilities: ``[n, n_classes]`` between 0 and 1.
        classes: one name per column; ``None`` numbers the columns.
        task: ``"multiclass"`` or ``"multilabel"``.

    Raises:
        EcgnbError: there are no records, shapes disagree, or probabilities are not
            finite, not within 0 and 1, or (in multi-class tasks) do not sum to 1.
        LabelError: a target is not a class number or not 0 or 1.
        ConfigError: the task is unknown, or the number of names is not the number of
            columns.
    """
    scores = check_scores(probabilities)
    n_classes = scores.shape[1]
    names = tuple(map(str, range(n_classes) if classes is None else classes))
    if len(names) != n_classes:
        raise ConfigError(
            f"There are {len(names)} class names for probabilities of shape "
            f"{scores.shape}. Give one name for each column, in the order of the "
            "model's outputs."
        )
    truth = one_hot(targets, scores.shape, task)
    _check_probabilities(scores, task)
    return Inputs(truth, scores, names, task)


def check_scores(scores: Any, what: str = "probabilities") -> np.ndarray:
    """Return ``scores`` as finite float64 ``[n, n_classes]``.

    Args:
        scores: probabilities or logits.
        what: the word for them in error messages.

    Raises:
        EcgnbError: the shape is another one, or a value is not finite.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise EcgnbError(
            f"The {what} have shape {array.shape}; [n_records, n_classes] with at "
            "least one of each is required."
        )
    broken = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if broken.size:
        raise EcgnbError(
            f"The {what} of {broken.size} of {len(array)} records are NaN or infinite "
            f"(first: row {broken[0]}). The model has diverged or a recording contains "
            "NaN; look at the training loss and at that record's flags."
        )
    return array


def one_hot(targets: Any, shape: tuple[int, ...], task: str) -> np.ndarray:
    """Return targets as bool ``[n, n_classes]``.

    Args:
        targets: int ``[n]`` (multi-class) or 0/1 ``[n, n_classes]`` (multi-label).
        shape: shape of the scores that the targets belong to.
        task: ``"multiclass"`` or ``"multilabel"``.

    Raises:
        EcgnbError: the shape does not fit.
        LabelError: a value is not a class number, or not 0 or 1.
        ConfigError: the task is unknown.
    """
    check_task(task)
    array = np.asarray(targets)
    expected_shape, values, allowed = shape, np.arange(2), "0 or 1"
    if task == "multiclass":
        expected_shape, values = shape[:1], np.arange(shape[1])
        allowed = f"a class number from 0 to {values[-1]}"
    if array.shape != expected_shape:
        raise EcgnbError(
            f"The targets have shape {array.shape}, but a {task} task with scores of "
            f"shape {shape} requires {expected_shape}. Check that both come "
            "from the same split and that the task is right."
        )
    wrong = array[~np.isin(array, values)]
    if wrong.size:
        raise LabelError(
            f"{wrong.size} targets are not {allowed}; the first is {wrong[0]}. "
            "Encode the labels with the model's own classes."
        )
    if task == "multilabel":
        return array.astype(bool)
    return array[:, None] == values


def check_task(task: str) -> None:
    """Raise ``ConfigError`` unless ``task`` is one of `TASKS`."""
    if task not in TASKS:
        names = " or ".join(map(repr, TASKS))
        raise ConfigError(f"The task is {task!r}; give {names}.")


def _check_probabilities(probabilities: np.ndarray, task: str) -> None:
    low, high = probabilities.min(), probabilities.max()
    if low < 0 or high > 1:
        raise EcgnbError(
            f"Probabilities must be between 0 and 1, these are from {low:.4g} to "
            f"{high:.4g}. If they are logits, pass them through "
            "probabilities_from_logits(logits, task) first."
        )
    sums = probabilities.sum(axis=1)
    row = int(np.abs(sums - 1).argmax())
    if task == "multiclass" and abs(sums[row] - 1) > _SUM_TOLERANCE:
        raise EcgnbError(
            f"The probabilities of row {row} sum to {sums[row]:.4g}, not to 1, so they "
            "are not the softmax of a multi-class model. Give task='multilabel' for "
            "independent classes."
        )
