"""Parameters of the evaluation; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from ecgnb.core.errors import ConfigError


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on the test split.

    Attributes:
        bootstrap_resamples: resamples behind each interval.
        confidence: coverage of the intervals, between 0 and 1.
    """

    bootstrap_resamples: int = 1000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.bootstrap_resamples < 1:
            raise ConfigError(
                f"BOOTSTRAP_RESAMPLES is {self.bootstrap_resamples}; give at least 1 "
                "(1000 is usual)."
            )
        if not 0 < self.confidence < 1:
            raise ConfigError(
                f"CONFIDENCE is {self.confidence}; give a number between 0 and 1, such "
                "as 0.95."
            )
