"""A small ECG-FM with random weights: 48 channels, 3 layers."""

from __future__ import annotations

import torch

from ecgnb.models import build_model
from ecgnb.models.ecg_fm import EcgFM

OPTIONS = {
    "n_leads": 12,
    "n_samples": 2500,
    "fs": 500.0,
    "n_classes": 3,
    "dim": 48,
    "depth": 3,
    "n_heads": 4,
    "ffn": 96,
    "conv_layers": ((24, 2, 2),) * 4,
}


def small_ecg_fm(**options) -> EcgFM:
    torch.manual_seed(0)
    return build_model("ecg_fm", **{**OPTIONS, **options}).eval()
