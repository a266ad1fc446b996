"""Parameters of the evaluation; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ecgnb.core.errors import ConfigError
from ecgnb.core.parameters import check_choices


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on the test split.

    Attributes:
        bootstrap_resamples: resamples behind each interval.
        confidence: coverage of the intervals, between 0 and 1.
        decision_criterion: what the decisions are optimised for on validation, by
            thresholds (several labels) or by the prior correction (one label):
            "macro_f1", the F1 of each class by itself; "micro_f1", the F1 of all
            decisions together; "exact_match", records that are right in every class;
            "youden", sensitivity plus specificity of each class.
        prior_correction: "auto" adds a part of the log prior to the logits of a model
            that was trained with balanced classes, how much is chosen on validation;
            "none" adds nothing.
    """

    # F1 of each class is the default, since rare classes count as much as frequent ones
    # in the headline; joint criteria serve reports that must be right as a whole.

    bootstrap_resamples: int = 1000
    confidence: float = 0.95
    decision_criterion: Literal["macro_f1", "micro_f1", "exact_match", "youden"] = (
        "macro_f1"
    )
    prior_correction: Literal["auto", "none"] = "auto"

    def __post_init__(self) -> None:
        check_choices(self)
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
