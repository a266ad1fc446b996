"""The numbers of one evaluation, in plain Python: headline, per class, confusion
matrix, and what to be wary of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ecgnb.core.errors import EcgnbError, LabelError
from ecgnb.evaluation.arrays import Inputs, check_inputs
from ecgnb.evaluation.calibration import classwise_calibration_error
from ecgnb.evaluation.ranking import macro_auroc
from ecgnb.evaluation.scorer import Scorer, headline_metrics

__all__ = [
    "confusion",
    "compute_metrics",
    "headline_metrics",
    "macro_auroc",
    "per_class_metrics",
]

#: Probabilities nearer than this to 0 or 1 say that the logits ran away.
_SATURATED = 1e-7


def compute_metrics(
    targets: Any,
    probabilities: Any,
    classes: tuple[str, ...] | list[str],
    task: str,
    thresholds: Any = None,
) -> dict[str, Any]:
    """Return everything that the predictions say about the model, as plain JSON values.

    Macro numbers are means over the classes that define them; ``left_out`` names the
    others. AUROC needs both outcomes, average precision a positive, F1 a positive or a
    call (scikit-learn's ``zero_division=nan``), balanced accuracy a positive
    (multi-class: mean recall) or both outcomes (multi-label: mean of sensitivity and
    specificity). What is undefined is ``None``.

    Args:
        targets: int ``[n]`` or 0/1 ``[n, n_classes]``.
        probabilities: ``[n, n_classes]``.
        classes: names of the columns.
        task: ``"multiclass"`` or ``"multilabel"``.
        thresholds: ``[n_classes]`` for multi-label tasks, chosen on validation records;
            ``None`` for 0.5.

    Returns:
        ``task, n_records, classes, thresholds, headline`` (name to number, see
        `headline_metrics`), ``per_class`` (a dict a class, the columns of
        `per_class_metrics`), ``confusion_matrix`` (see `confusion`), ``left_out`` (macro
        number to class names) and ``warnings`` (sentences).

    Raises:
        EcgnbError: there are no records, shapes disagree, or probabilities are not
            finite or not probabilities.
        LabelError: a target is not a class number or not 0 or 1.
        ConfigError: the task, the class names or the thresholds do not fit.
    """
    inputs = check_inputs(targets, probabilities, classes, task)
    scorer = Scorer(inputs, thresholds)
    headline = scorer.headline(np.ones((len(inputs.truth), 1)))
    table = _per_class(scorer)
    left_out = _left_out(table, task)
    return {
        "task": task,
        "n_records": len(inputs.truth),
        "classes": list(inputs.classes),
        "thresholds": None if scorer.thresholds is None else scorer.thresholds.tolist(),
        "headline": {name: _plain(value[0]) for name, value in headline.items()},
        "per_class": [
            {str(key): _plain(item) for key, item in row.items()}
            for row in table.to_dict("records")
        ],
        "confusion_matrix": _confusion_of(scorer).tolist(),
        "left_out": left_out,
        "warnings": _warnings(inputs, left_out),
    }


def per_class_metrics(
    targets: Any,
    probabilities: Any,
    classes: tuple[str, ...] | list[str],
    task: str,
    thresholds: Any = None,
) -> pd.DataFrame:
    """Return a row a class; arguments and errors are those of `compute_metrics`.

    Returns:
        Columns ``class, support`` (positives), ``called`` (decisions for the class),
        ``precision``, ``recall`` (sensitivity), ``specificity, f1, auroc,
        average_precision, brier`` (mean squared difference of this class), ``ece``
        (this class against the rest) and ``threshold`` (NaN in multi-class tasks).
        Undefined numbers are NaN.
    """
    return _per_class(
        Scorer(check_inputs(targets, probabilities, classes, task), thresholds)
    )


def confusion(targets: Any, decisions: Any, n_classes: int) -> np.ndarray:
    """Count truth against decision.

    Args:
        targets: int ``[n]`` class numbers, or 0/1 ``[n, n_classes]``.
        decisions: of the same shape.
        n_classes: number of classes.

    Returns:
        int64 ``[n_classes, n_classes]``, rows the truth and columns the decision; for
        0/1 arrays ``[n_classes, 2, 2]`` with ``[[true negatives, false positives],
        [false negatives, true positives]]`` a class.

    Raises:
        EcgnbError: the shapes differ.
        LabelError: a value is not a class number or not 0 or 1.

    >>> confusion([0, 1, 1], [0, 1, 0], 2).tolist()
    [[1, 0], [1, 1]]
    """
    truth, decided = np.asarray(targets), np.asarray(decisions)
    multilabel = truth.ndim == 2
    if (
        truth.shape != decided.shape
        or truth.ndim not in (1, 2)
        or (multilabel and truth.shape[1] != n_classes)
    ):
        raise EcgnbError(
            f"Targets {truth.shape} and decisions {decided.shape} do not fit {n_classes} classes."
        )
    n_values = 2 if multilabel else n_classes
    for what, values in (("targets", truth), ("decisions", decided)):
        if not np.isin(values, np.arange(n_values)).all():
            raise LabelError(
                f"The {what} hold values other than 0 to {n_values - 1}. Encode them with these classes."
            )
    pairs = truth.astype(np.int64) * n_values + decided.astype(np.int64)
    if not multilabel:
        return np.bincount(pairs, minlength=n_values**2).reshape(n_values, n_values)
    return np.stack(
        [np.bincount(column, minlength=4).reshape(2, 2) for column in pairs.T]
    )


def _per_class(scorer: Scorer) -> pd.DataFrame:
    inputs = scorer.inputs
    each = {
        name: value[:, 0]
        for name, value in scorer.per_class(np.ones((len(inputs.truth), 1))).items()
    }
    columns: dict[str, Any] = {"class": list(inputs.classes)}
    columns.update(
        {name: each[name].astype(np.int64) for name in ("support", "called")}
    )
    names = ("precision", "recall", "specificity", "f1", "auroc", "average_precision")
    columns.update({name: each[name] for name in names})
    columns["brier"] = ((inputs.probabilities - inputs.truth) ** 2).mean(axis=0)
    columns["ece"] = classwise_calibration_error(
        inputs.truth, inputs.probabilities, "multilabel"
    )
    columns["threshold"] = np.nan if scorer.thresholds is None else scorer.thresholds
    return pd.DataFrame(columns)


def _confusion_of(scorer: Scorer) -> np.ndarray:
    truth, decided, n_classes = (
        scorer.inputs.truth,
        scorer.decided,
        len(scorer.inputs.classes),
    )
    if scorer.inputs.task == "multiclass":
        return confusion(truth.argmax(axis=1), decided.argmax(axis=1), n_classes)
    return confusion(truth, decided, n_classes)


def _left_out(table: pd.DataFrame, task: str) -> dict[str, list[str]]:
    balanced = (
        table["recall"]
        if task == "multiclass"
        else table["recall"] + table["specificity"]
    )
    columns = {
        "macro_auroc": table["auroc"],
        "macro_average_precision": table["average_precision"],
        "macro_f1": table["f1"],
        "balanced_accuracy": balanced,
    }
    return {
        name: table.loc[column.isna(), "class"].tolist()
        for name, column in columns.items()
    }


def _warnings(inputs: Inputs, left_out: dict[str, list[str]]) -> list[str]:
    found = []
    absent = left_out["macro_auroc"]
    if absent:
        found.append(
            f"{len(absent)} of {len(inputs.classes)} classes lack positives or negatives among these records and are "
            f"not part of the macro AUROC: {', '.join(absent)}."
        )
    p = inputs.probabilities
    if len(p) > 1 and np.ptp(p, axis=0).max() < _SATURATED:
        found.append(
            "All records get the same probabilities: the model does not look at its input. Check the learning rate, "
            "the transforms and whether the weights were loaded."
        )
    elif np.minimum(p, 1 - p).max() < _SATURATED:
        found.append(
            "Every probability is 0 or 1: the outputs are saturated. Check the scale of the input and the learning "
            "rate, and fit a temperature on validation."
        )
    return found


def _plain(value: Any) -> Any:
    """Return a Python number or text; NaN becomes ``None``, as JSON has no NaN."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and np.isnan(value) else value
