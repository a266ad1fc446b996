import numpy as np
import pytest

from ecgnb.evaluation.decision_rules import PLAIN, compare_rules, fit_rule
from ecgnb.evaluation.prior import log_prior


def test_a_training_without_balance_is_not_corrected():
    rng = np.random.default_rng(3)
    targets = rng.choice(3, 300, p=[0.7, 0.2, 0.1])
    logits = rng.normal(size=(300, 3)) + np.eye(3)[targets]
    prior = log_prior(targets, 3, "multiclass")
    rules = {
        "macro_f1": fit_rule(logits, targets, "multiclass", "macro_f1", prior, 0),
        PLAIN: fit_rule(logits, targets, "multiclass", PLAIN, prior, 1),
    }
    assert [rule.strength for rule in rules.values()] == [0, 0]
    rows = compare_rules(rules, "macro_f1", {"valid": (logits, targets)})
    accuracy = (logits.argmax(axis=1) == targets).mean()
    assert [row["accuracy"] for row in rows] == pytest.approx([accuracy] * 2)
    assert [row["used"] for row in rows] == [True, False]
