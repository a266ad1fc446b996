"""The summary of a model; tests/models/test_models_conformance.py has the sums."""

from __future__ import annotations

import pytest
import torch
from small_ecg_fm import small_ecg_fm

from ecgnb.core.errors import ConfigError
from ecgnb.models import model_summary


def test_a_summary_of_a_model_without_classifier_ends_in_its_embedding():
    with_classifier, without = (
        model_summary(small_ecg_fm()),
        model_summary(small_ecg_fm(n_classes=0, codebook=(2, 5, 8))),
    )
    assert without.output.iloc[-1] == "48" and with_classifier.output.iloc[-1] == "3"
    assert without.flops.iloc[0] == with_classifier.flops.iloc[0] > 0
    with pytest.raises(ConfigError, match="no classifier"):
        small_ecg_fm(n_classes=0)(torch.randn(1, 12, 800))
