"""Attention saliency: where a transformer looks."""

from __future__ import annotations

import pytest
import torch

from ecgnb.core.errors import ConfigError
from ecgnb.explain import attention_saliency
from ecgnb.models import build_model

WORDS = {"n_leads": 2, "n_samples": 800, "fs": 500.0, "n_classes": 3}


def small():
    torch.manual_seed(0)
    return build_model("ecg_fm", **WORDS, dim=48, depth=2, n_heads=4, ffn=96).eval()


def test_saliency_is_the_largest_weight_over_keys_scaled_and_stretched():
    model, x = small(), torch.randn(3, 2, 800)
    found = attention_saliency(model, x)
    assert found.shape == (3, 800)
    assert found.min() >= 0 and found.amax(1).tolist() == pytest.approx(
        [1.0] * 3, abs=0.05
    )
    weights = model.attention(x)[1, -1].amax(1)
    assert found[1].argmax() // 16 == weights.argmax()
    steps = (weights - weights.min()) / (weights.max() - weights.min())
    middle = (
        found[1, 7::16] + found[1, 8::16]
    ) / 2  # a token stands in the middle of its 16 samples
    near = 0.96875 * steps[1:-1] + 0.015625 * (
        steps[:-2] + steps[2:]
    )  # half a sample from it on either side
    torch.testing.assert_close(middle[1:-1], near, atol=1e-5, rtol=0)


def test_other_layers_and_models():
    model, x = small(), torch.randn(1, 2, 800)
    assert not torch.equal(
        attention_saliency(model, x, layer=0), attention_saliency(model, x)
    )
    with pytest.raises(ConfigError, match="layer=2: the model has the layers 0 to 1"):
        attention_saliency(model, x, layer=2)
    with pytest.raises(ConfigError, match="ResNet1d has no attention"):
        attention_saliency(build_model("resnet1d", **WORDS), x)
