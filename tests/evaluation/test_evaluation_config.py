"""Parameters of the evaluation that make no sense are refused by name."""

import pytest

from ecgnb.core.errors import ConfigError
from ecgnb.evaluation.config import EvaluationConfig


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ConfigError, match="BOOTSTRAP_RESAMPLES is 0"):
        EvaluationConfig(bootstrap_resamples=0)
    with pytest.raises(ConfigError, match="CONFIDENCE is 95"):
        EvaluationConfig(confidence=95)
