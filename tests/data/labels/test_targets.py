"""Targets: class indices, and 0 and 1 for each class."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ecgnb.core.errors import ConfigError, LabelError
from ecgnb.data.labels.targets import encode, infer_task

CLASSES = ("MI", "AF", "BBB", "NORM", "OTHER")


def test_the_task_follows_from_the_labels():
    assert infer_task(pd.Series(["MI", "AF"], dtype="str")) == "multiclass"
    assert infer_task(pd.Series(["MI", "AF|MI"], dtype="str")) == "multilabel"
    assert infer_task(pd.Series(["MI", ""], dtype="str")) == "multilabel"


def test_targets():
    labels = pd.Series(["AF", "MI", "AF", "OTHER"], dtype="str")
    target = encode(labels, CLASSES, "multiclass")
    assert target.dtype == np.int64 and target.tolist() == [1, 0, 1, 4]
    several = encode(
        pd.Series(["MI|NORM", "", "AF"], dtype="str"), CLASSES, "multilabel"
    )
    assert several.dtype == np.float32
    assert several.tolist() == [[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    assert encode(pd.Series([], dtype="str"), CLASSES, "multilabel").shape == (0, 5)
    assert encode(pd.Series([], dtype="str"), CLASSES, "multiclass").shape == (0,)


@pytest.mark.parametrize(
    ("label", "task", "message"),
    [
        ("XYZ", "multiclass", "'b' has the label 'XYZ', which is not among"),
        ("MI|XYZ", "multilabel", "'b' has the label 'XYZ', which is not among"),
        ("MI|AF", "multiclass", r"'b' has the label 'MI\|AF', not exactly one of"),
        ("", "multiclass", "'b' has the label '', not exactly one of"),
    ],
)
def test_targets_that_cannot_be_name_the_record(label, task, message):
    with pytest.raises(LabelError, match=message):
        encode(pd.Series(["AF", label], index=["a", "b"], dtype="str"), CLASSES, task)
    with pytest.raises(ConfigError, match="'regression'"):
        encode(pd.Series(["AF"], dtype="str"), CLASSES, "regression")


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("missing", [None, float("nan")])
@pytest.mark.parametrize("dtype", ["str", object])
def test_a_missing_label_has_no_target(task, missing, dtype):
    labels = pd.Series(
        ["MI", missing, "AF", missing], index=["a", "b", "c", "d"], dtype=dtype
    )
    with pytest.raises(
        LabelError, match=r"^2 labels are missing, the first in row 1 \('b'\)"
    ):
        encode(labels, CLASSES, task)
