"""Fixtures of the tests of figures."""

import numpy as np
import pytest
from figure_checks import multiclass

from ecgnb.evaluation.calibration import probabilities_from_logits


@pytest.fixture
def softmax() -> tuple[np.ndarray, np.ndarray]:
    targets, logits = multiclass()
    return targets, probabilities_from_logits(logits, "multiclass")
