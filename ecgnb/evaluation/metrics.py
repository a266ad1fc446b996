"""Metrics of a classifier: headline numbers, numbers per class, confusion matrix,
warnings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ecgnb.core.errors import EcgnbError, LabelError
from ecgnb.evaluation.arrays import Inputs
from ecgnb.evaluation.calibration import classwise_calibration_error
from ecgnb.evaluation.scorer import Scorer

#: With fewer patients than this, even a sensitivity of 9 of 9 has a 95 % interval of
#: 0.70 to 1: the numbers of a class are a first impression.
FEW_PATIENTS = 10
#: Probabilities nearer than this to 0 or 1 mean that the logits have run away.
_SATURATED = 1e-7


def compute_metrics(
    targets: Any,
    probabilities: Any,
    classes: Sequence[str],
    task: str,
    thresholds: Any = None,
) -> dict[str, Any]:
    """Return all numbers of a set of predictions as plain JSON values.

    Macro numbers are means over the classes that define them; ``left_out`` names the
    others. AUROC requires both outcomes, average precision a positive, F1 a positive or
    a call (scikit-learn's ``zero_division=nan``), balanced accuracy a positive
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
        `HEADLINE`), ``per_class`` (one dict per class, the columns of
        `per_class_metrics`), ``confusion_matrix`` (see `confusion`), ``left_out``
        (macro number to class names) and ``warnings`` (sentences).

    Raises:
        EcgnbError: there are no records, shapes disagree, or probabilities are not
            finite or not probabilities.
        LabelError: a target is not a class number or not 0 or 1.
        ConfigError: the task, the class names or the thresholds do not fit.
    """
    scorer = Scorer(targets, probabilities, classes, task, thresholds)
    inputs, truth, decisions = scorer.inputs, scorer.inputs.truth, scorer.decided
    n_records, n_classes = truth.shape
    used_thresholds = None
    if scorer.thresholds is None:  # multi-class: one-hot to class numbers
        truth, decisions = truth.argmax(axis=1), decisions.argmax(axis=1)
    else:
        used_thresholds = scorer.thresholds.tolist()
    headline: dict[str, float | None] = {}
    for name, (value,) in scorer.headline(np.ones((n_records, 1))).items():
        headline[name] = None if np.isnan(value) else float(value)
    table = _class_table(scorer)
    without_nan = table.astype(object).where(table.notna(), None)  # JSON has no NaN
    left_out = _left_out(table, task)
    return {
        "task": task,
        "n_records": n_records,
        "classes": list(inputs.classes),
        "thresholds": used_thresholds,
        "headline": headline,
        "per_class": without_nan.to_dict("records"),
        "confusion_matrix": confusion(truth, decisions, n_classes).tolist(),
        "left_out": left_out,
        "warnings": _warnings(inputs, left_out["macro_auroc"]),
    }


def per_class_metrics(
    targets: Any,
    probabilities: Any,
    classes: Sequence[str],
    task: str,
    thresholds: Any = None,
) -> pd.DataFrame:
    """Return one row per class; arguments and errors are those of `compute_metrics`.

    Returns:
        Columns ``class, support`` (positives), ``called`` (decisions for the class),
        ``precision``, ``recall`` (sensitivity), ``specificity, f1, auroc,
        average_precision, brier`` (mean squared difference of this class), ``ece``
        (this class against the rest) and ``threshold`` (NaN in multi-class tasks).
        Undefined numbers are NaN.
    """
    return _class_table(Scorer(targets, probabilities, classes, task, thresholds))


def _class_table(scorer: Scorer) -> pd.DataFrame:
    inputs = scorer.inputs
    numbers = scorer.per_class(np.ones((len(inputs.truth), 1)))
    table = pd.DataFrame({"class": inputs.classes})
    for name, values in numbers.items():
        table[name] = values[:, 0]
    table = table.drop(columns="hits").astype({"support": int, "called": int})
    table["brier"] = ((inputs.probabilities - inputs.truth) ** 2).mean(axis=0)
    table["ece"] = classwise_calibration_error(inputs)
    table["threshold"] = scorer.thresholds
    return table.astype({"threshold": float})  # NaN in multi-class tasks


def few_outcomes(truth: np.ndarray, patients: np.ndarray) -> list[str]:
    """Return for each class which outcome fewer than `FEW_PATIENTS` patients have.

    Args:
        truth: bool ``[n, n_classes]``.
        patients: int ``[n]``, number of each record's patient.

    Returns:
        ``"positives"``, ``"negatives"`` or ``""`` for each class.
    """
    marks = []
    for column in truth.T:
        mark = ""
        if len(np.unique(patients[~column])) < FEW_PATIENTS:
            mark = "negatives"
        if len(np.unique(patients[column])) < FEW_PATIENTS:
            mark = "positives"
        marks.append(mark)
    return marks


def confusion(targets: Any, decisions: Any, n_classes: int) -> np.ndarray:
    """Count truth against decision.

    Args:
        targets: int ``[n]`` class numbers, or 0/1 ``[n, n_classes]``.
        decisions: of the same shape.
        n_classes: number of classes.

    Returns:
        int64 ``[n_classes, n_classes]``, rows the truth and columns the decision; for
        0/1 arrays ``[n_classes, 2, 2]``, per class ``[[true negatives, false
        positives], [false negatives, true positives]]``.

    Raises:
        EcgnbError: the shapes differ.
        LabelError: a value is not a class number or not 0 or 1.

    >>> confusion([0, 1, 1], [0, 1, 0], 2).tolist()
    [[1, 0], [1, 1]]
    """
    truth, decided = np.asarray(targets), np.asarray(decisions)
    multilabel = truth.ndim == 2
    fits = truth.ndim == 1 or truth.shape[1:] == (n_classes,)
    if truth.shape != decided.shape or not fits:
        raise EcgnbError(
            f"Targets {truth.shape} and decisions {decided.shape} do not fit "
            f"{n_classes} classes."
        )
    n_values = 2 if multilabel else n_classes
    for name, values in (("targets", truth), ("decisions", decided)):
        if not np.isin(values, np.arange(n_values)).all():
            raise LabelError(
                f"The {name} contain values other than 0 to {n_values - 1}. Encode "
                "them with these classes."
            )
    # Number of the cell in a flattened matrix.
    cells = truth.astype(np.int64) * n_values + decided.astype(np.int64)
    columns = np.atleast_2d(cells.T)  # one matrix for each
    counts = [np.bincount(column, minlength=n_values**2) for column in columns]
    return np.reshape(counts, (*truth.shape[1:], n_values, n_values))


def _left_out(table: pd.DataFrame, task: str) -> dict[str, list[str]]:
    """Return for each macro number the classes that do not define it."""
    undefined = {
        "macro_auroc": table["auroc"].isna(),
        "macro_average_precision": table["average_precision"].isna(),
        "macro_f1": table["f1"].isna(),
        "balanced_accuracy": table["recall"].isna(),
    }
    if task == "multilabel":
        undefined["balanced_accuracy"] |= table["specificity"].isna()
    return {name: list(table["class"][rows]) for name, rows in undefined.items()}


def _warnings(inputs: Inputs, absent: list[str]) -> list[str]:
    warnings = []
    if absent:
        warnings.append(
            f"{len(absent)} of {len(inputs.classes)} classes lack positives or "
            "negatives among these records and are not part of the macro AUROC: "
            f"{', '.join(absent)}."
        )
    p = inputs.probabilities
    ranges = np.ptp(p, axis=0)  # of each class over the records
    if len(p) > 1 and ranges.max() < _SATURATED:
        warnings.append(
            "All records get the same probabilities: the model does not look at its "
            "input. Check the learning rate, the transforms and whether the weights "
            "were loaded."
        )
    elif np.minimum(p, 1 - p).max() < _SATURATED:
        warnings.append(
            "Every probability is 0 or 1: the outputs are saturated. Check the scale "
            "of the input and the learning rate, and fit a temperature on validation."
        )
    return warnings
