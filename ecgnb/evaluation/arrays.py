"""The arrays that every number of the evaluation is made from, checked once and said
plainly when they are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ecgnb.core.errors import ConfigError, EcgnbError, LabelError

#: One class a record, or any number of classes a record.
TASKS = ("multiclass", "multilabel")
#: How far the probabilities of a multi-class record may be from summing to 1; half
#: precision needs some room.
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
    targets: Any, probabilities: Any, classes: tuple[str, ...] | list[str], task: str
) -> Inputs:
    """Check targets, probabilities and class names against each other.

    Args:
        targets: int ``[n]`` class numbers (multi-class) or 0/1 ``[n, n_classes]``
            (multi-label).
        probabilities: ``[n, n_classes]`` between 0 and 1.
        classes: names of the classes, one a column.
        task: ``"multiclass"`` or ``"multilabel"``.

    Returns:
        The arrays as the evaluation uses them.

    Raises:
        EcgnbError: there are no records, shapes disagree, or probabilities are not
            finite, not within 0 and 1, or (in multi-class tasks) do not sum to 1.
        LabelError: a target is not a class number or not 0 or 1.
        ConfigError: the task is unknown, or the number of names is not the number of
            columns.
    """
    scores = check_scores(probabilities)
    if len(classes) != scores.shape[1]:
        raise ConfigError(
            f"There are {len(classes)} class names for probabilities of shape {scores.shape}. "
            "Give one name for each column, in the order of the model's outputs."
        )
    truth = one_hot(targets, scores.shape, task)
    _check_probabilities(scores, task)
    return Inputs(truth, scores, tuple(str(name) for name in classes), task)


def check_scores(scores: Any, what: str = "probabilities") -> np.ndarray:
    """Return ``scores`` as finite float64 ``[n, n_classes]``, or raise ``EcgnbError``
    that says what is wrong.

    Args:
        scores: probabilities or logits.
        what: the word for them in the message.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise EcgnbError(
            f"The {what} have shape {array.shape}; [n_records, n_classes] with at least one of each is needed."
        )
    broken = ~np.isfinite(array).all(axis=1)
    if broken.any():
        first = int(np.flatnonzero(broken)[0])
        raise EcgnbError(
            f"The {what} of {int(broken.sum())} of {len(array)} records are NaN or infinite (first: row {first}). "
            "The model has diverged or a recording holds NaN; look at the training loss and at that record's flags."
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
    expected = shape if task == "multilabel" else shape[:1]
    if array.shape != tuple(expected):
        raise EcgnbError(
            f"The targets have shape {array.shape}, but a {task} task with scores of shape {tuple(shape)} needs "
            f"{tuple(expected)}. Check that both come from the same split and that the task is right."
        )
    if task == "multilabel":
        wrong = array[(array != 0) & (array != 1)]
        _refuse(wrong, "0 or 1")
        return array.astype(bool)
    wrong = array[~np.isin(array, np.arange(shape[1]))]
    _refuse(wrong, f"a class number from 0 to {shape[1] - 1}")
    return array.astype(np.int64)[:, None] == np.arange(shape[1])


def check_task(task: str) -> None:
    """Raise ``ConfigError`` unless ``task`` is one of `TASKS`."""
    if task not in TASKS:
        raise ConfigError(
            f"The task is {task!r}; give {' or '.join(map(repr, TASKS))}."
        )


def _refuse(wrong: np.ndarray, expected: str) -> None:
    if wrong.size:
        raise LabelError(
            f"{wrong.size} targets are not {expected}; the first is {wrong.flat[0]}. "
            "Encode the labels with the model's own classes."
        )


def _check_probabilities(probabilities: np.ndarray, task: str) -> None:
    low, high = probabilities.min(), probabilities.max()
    if low < 0 or high > 1:
        raise EcgnbError(
            f"Probabilities must lie between 0 and 1, these go from {low:.4g} to {high:.4g}. "
            "If they are logits, pass them through probabilities_from_logits(logits, task) first."
        )
    off = np.abs(probabilities.sum(axis=1) - 1)
    if task == "multiclass" and off.max() > _SUM_TOLERANCE:
        row = int(off.argmax())
        raise EcgnbError(
            f"The probabilities of row {row} sum to {probabilities[row].sum():.4g}, not to 1, so this is no softmax "
            "of a multi-class model. Give task='multilabel' for independent classes."
        )
