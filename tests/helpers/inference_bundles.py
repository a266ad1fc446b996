"""Bundles with random weights, and recordings of noise, for tests of inference."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from ecgnb.data.config import PrepareConfig
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.inference import (
    infer,
)
from ecgnb.models import build_model
from ecgnb.transforms.pipeline import build_pipeline

CLASSES = ("NORM", "AF", "MI")


def make_bundle(
    task: str = "multilabel",
    aggregate: tuple[str, ...] = ("mean", "max", "mean"),
    **changes,
) -> Bundle:
    """A network over 5 s with weights of chance, whose outputs differ enough to tell
    windows apart."""
    torch.manual_seed(1)
    words = {
        "n_leads": 12,
        "n_samples": 2500,
        "fs": 500.0,
        "n_classes": 3,
        "leads": STANDARD_12,
        "task": task,
    }
    model = build_model(
        "resnet1d", **words, widths=(8, 12), depths=(1, 1), norm="group"
    ).eval()
    with torch.no_grad():
        model.head.classifier.weight.mul_(20.0)
    recipe = {"crop": "start", "resampling": "linear", "filters": ("zscore",)}
    prepare = PrepareConfig(target_samples=2500, leads=STANDARD_12, **recipe)
    settings = {"temperature": 1.5, "aggregate": aggregate, **changes}
    return Bundle(model, CLASSES, task, prepare, build_pipeline([]), **settings)


def noise(
    seconds: float, fs: float = 500, name: str = "noise", seed: int = 0
) -> Recording:
    """A recording of 12 leads of Brownian noise."""
    signal = (
        np.random.default_rng(seed)
        .normal(size=(12, round(seconds * fs)))
        .cumsum(axis=1)
    )
    return Recording((signal / 50).astype(np.float32), float(fs), STANDARD_12, name)


def probabilities(table: pd.DataFrame) -> np.ndarray:
    return table[list(CLASSES)].to_numpy(dtype=float)


def seen_by(bundle: Bundle, *arguments, **options) -> list[torch.Tensor]:
    """Return the batches that a model gets."""
    seen: list[torch.Tensor] = []
    handle = bundle.model.register_forward_pre_hook(
        lambda _, settings: seen.append(settings[0].clone())
    )
    try:
        infer(bundle, *arguments, **options)
    finally:
        handle.remove()
    return seen
