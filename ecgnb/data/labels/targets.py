"""Training targets of label text: class indices, or 0 and 1 for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from ecgnb.core.errors import ConfigError, LabelError


def infer_task(labels: pd.Series) -> Literal["multiclass", "multilabel"]:
    """Return "multilabel" where a recording has several labels or none, else
    "multiclass".

    >>> infer_task(pd.Series(["MI", "AF|BBB"])), infer_task(pd.Series(["MI", "AF"]))
    ('multilabel', 'multiclass')
    """
    several = labels.str.contains("|", regex=False) | (labels == "")
    return "multilabel" if several.any() else "multiclass"


def encode(labels: pd.Series, classes: Sequence[str], task: str) -> np.ndarray:
    """Convert labels to targets.

    Args:
        labels: text, one per recording, several classes joined with ``|``.
        classes: the classes in order.
        task: "multiclass" or "multilabel".

    Returns:
        int64 ``[n]`` for multiclass, float32 ``[n, n_classes]`` of 0 and 1 for
        multilabel.

    Raises:
        LabelError: a label is missing (NaN, None) or not among the classes, or a
            recording has none ("") or several in a multiclass task; in a multilabel
            task "" means none of the classes.
        ConfigError: the task is unknown.
    """
    if task not in ("multiclass", "multilabel"):
        raise ConfigError(f"The task is {task!r}; give 'multiclass' or 'multilabel'.")
    codes, texts = factorize_labels(labels)  # few texts, many recordings
    shape = (len(texts), len(classes))
    table = np.zeros(shape, dtype=np.float32)
    for row, text in enumerate(texts):
        parts = list(filter(None, text.split("|")))
        unknown = [part for part in parts if part not in classes]
        problem = ""
        if unknown:
            problem = f"{unknown[0]!r}, which is not among"
        elif task == "multiclass" and len(parts) != 1:
            problem = f"{text!r}, not exactly one of"
        if problem:
            first = int(np.argmax(codes == row))
            record = labels.index[first]
            raise LabelError(
                f"The recording {record!r} has the label {problem} the classes "
                f"{', '.join(classes)}."
            )
        table[row] = np.isin(classes, parts)
    if task == "multilabel":
        return table[codes]
    indices = table.argmax(axis=1).astype(np.int64)
    return indices[codes]


def factorize_labels(labels: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """Return the index of each label among the distinct ones, and those.

    Raises:
        LabelError: a label is missing (NaN, None); `pandas.factorize` alone would
            number it -1, which stands for the last label.
    """
    codes, texts = pd.factorize(labels)
    missing = np.flatnonzero(codes < 0)
    if len(missing):
        record = labels.index[missing[0]]
        raise LabelError(
            f"{len(missing)} labels are missing, the first in row {missing[0]} "
            f"({record!r}). Give each recording a label, or drop it; in a "
            "multilabel task '' is the label of a recording of none of the classes."
        )
    return codes, texts
