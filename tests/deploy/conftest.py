"""Fixtures of the tests of bundles."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ecgnb.data.config import PrepareConfig
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.deploy.bundle import Bundle
from ecgnb.foundation.stand_in import SMALL, stand_in
from ecgnb.models import build_model
from ecgnb.transforms.pipeline import build_pipeline


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small fine-tuned ECG-FM checkpoint with random weights and 17 outputs."""
    return stand_in(tmp_path / "small.pt", n_classes=17, optimizer=False, **SMALL)


@pytest.fixture
def bundle() -> Bundle:
    """A small classifier of three classes; only the metrics and the provenance are
    short."""
    torch.manual_seed(0)
    model = build_model(
        "resnet1d",
        n_leads=12,
        n_samples=1000,
        fs=100.0,
        n_classes=3,
        leads=STANDARD_12,
        task="multilabel",
        widths=(8, 12),
        depths=(1, 1),
    )
    # As training leaves the statistics of normalisation, not as they begin.
    for name, buffer in model.named_buffers():
        if "var" in name:
            buffer.add_(torch.rand_like(buffer), alpha=0.5)
        elif buffer.is_floating_point():
            buffer.normal_()
    return Bundle(
        model=model.eval(),
        classes=("NORM", "Vörhof|flimmern", "<b>"),
        task="multilabel",
        prepare=PrepareConfig(
            target_fs=100, target_samples=1000, leads=STANDARD_12, crop="start"
        ),
        transforms=build_pipeline(
            ["zscore", {"name": "bandpass", "low": 0.5, "high": 30.0}]
        ),
        thresholds=(0.1, 1 / 3, 0.7),
        temperature=1.2345678901234567,
        aggregate=("mean", "max", "mean"),
        metrics={"intervals": [{"metric": "macro_auroc", "value": 0.9}]},
        provenance={"run": "demo", "parameters": {"EPOCHS": 3}},
    )
