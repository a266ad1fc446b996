"""Inputs that do not fit are refused before anything is computed."""

import numpy as np
import pytest
from prediction_fakes import NAMES, multiclass, multilabel

from ecgnb.core.errors import ConfigError, EcgnbError, LabelError
from ecgnb.evaluation.metrics import (
    compute_metrics,
)
from ecgnb.evaluation.ranking import macro_auroc


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_probabilities_that_are_not_finite_are_refused(bad):
    y, p = multiclass()
    p[7, 2] = bad
    with pytest.raises(
        EcgnbError, match=r"1 of 300 records are NaN or infinite \(first: row 7"
    ):
        compute_metrics(y, p, NAMES, "multiclass")
    with pytest.raises(EcgnbError, match="row 7"):
        macro_auroc(y, p)


def test_arguments_that_do_not_fit_are_refused():
    y, p = multiclass()
    with pytest.raises(EcgnbError, match=r"\(299,\).*\(300, 4\)"):
        compute_metrics(y[1:], p, NAMES, "multiclass")
    with pytest.raises(EcgnbError, match=r"\(300,\).*multilabel.*\(300, 4\)"):
        compute_metrics(y, p, NAMES, "multilabel")
    with pytest.raises(EcgnbError, match="299"):
        macro_auroc(y[1:], p)
    with pytest.raises(ConfigError, match="3 class names"):
        compute_metrics(y, p, NAMES[:3], "multiclass")
    with pytest.raises(ConfigError, match="'multi'"):
        compute_metrics(y, p, NAMES, "multi")
    with pytest.raises(LabelError, match="first is 4"):
        compute_metrics(np.where(y == 3, 4, y), p, NAMES, "multiclass")
    with pytest.raises(LabelError, match="0 or 1"):
        compute_metrics(np.full(p.shape, 0.5), p, NAMES, "multilabel")
    with pytest.raises(EcgnbError, match="logits"):
        compute_metrics(y, 4 * p - 1, NAMES, "multiclass")
    with pytest.raises(EcgnbError, match="sum to"):
        compute_metrics(y, p / 2, NAMES, "multiclass")
    with pytest.raises(EcgnbError, match=r"\(0, 4\)"):
        compute_metrics([], np.empty((0, 4)), NAMES, "multiclass")
    with pytest.raises(ConfigError, match="no thresholds"):
        compute_metrics(y, p, NAMES, "multiclass", [0.5] * 4)


def test_targets_of_any_number_type_are_the_same():
    y, p = multilabel()
    results = [
        compute_metrics(y.astype(kind), p, NAMES, "multilabel")
        for kind in (bool, np.float32, np.int8)
    ]
    assert results[0] == results[1] == results[2]
