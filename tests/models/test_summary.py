"""The summary of a model; tests/models/test_models_conformance.py has the sums."""

from __future__ import annotations

import pytest
import torch

from ecgnb.core.errors import ConfigError
from ecgnb.models import build_model, model_summary
from ecgnb.models.ecg_fm import EcgFM

SMALL = {
    "dim": 48,
    "depth": 3,
    "n_heads": 4,
    "ffn": 96,
    "conv_layers": ((24, 2, 2),) * 4,
}


def small(**options) -> EcgFM:
    torch.manual_seed(0)
    words = {"n_leads": 12, "n_samples": 2500, "fs": 500.0, "n_classes": 3}
    return build_model("ecg_fm", **{**words, **SMALL, **options}).eval()


def test_a_summary_of_a_model_without_classifier_ends_in_its_embedding():
    with_classifier, without = (
        model_summary(small()),
        model_summary(small(n_classes=0, codebook=(2, 5, 8))),
    )
    assert without.output.iloc[-1] == "48" and with_classifier.output.iloc[-1] == "3"
    assert without.flops.iloc[0] == with_classifier.flops.iloc[0] > 0
    with pytest.raises(ConfigError, match="no classifier"):
        small(n_classes=0)(torch.randn(1, 12, 800))
