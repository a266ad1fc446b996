"""What the training loop costs over a bare PyTorch loop with the same model, optimizer and clipping.

The bare loop has all signals as tensors in memory and does nothing but forward, backward, clipping and the step. Ours
reads a signal store from disk, seeds each step, watches losses and gradients, follows a schedule and reports.

    python -m benchmarks --only loop [--quick]
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.preparation import write_cohort
from ecgnb.data.loaders import Loader
from ecgnb.data.prepare import prepare_store
from ecgnb.data.standardise import PrepareConfig
from ecgnb.data.store import SignalStore
from ecgnb.models.base import build_model
from ecgnb.objectives.supervised import Supervised
from ecgnb.training.callbacks import Callback
from ecgnb.training.config import TrainConfig
from ecgnb.training.loop import fit
from ecgnb.training.optimizer import make_optimizer
from ecgnb.transforms.pipeline import build_pipeline

CLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
BATCH = 32


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure steps of the default ResNet on 12 leads of 10 s at 100 Hz, ours and bare by turns; medians."""
    os.environ["ECGNB_PROGRESS"] = "quiet"
    rounds, steps = (3, 6) if quick else (9, 12)
    with tempfile.TemporaryDirectory() as name:
        store = _store(Path(name), steps * BATCH)
        targets = np.random.default_rng(0).integers(0, len(CLASSES), len(store))
        _ours(store, targets, Path(name) / "warm-up"), _bare(store, targets)
        pairs = [
            (_ours(store, targets, Path(name) / str(number)), _bare(store, targets)) for number in range(rounds)
        ]
    ours, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    size = f"resnet1d, batch {BATCH}, 12x1000, {torch.get_num_threads()} threads"
    return [
        {
            "name": f"training step, fit over a bare PyTorch loop ({size})",
            "ours": 1000 * ours,
            "theirs": 1000 * bare,
            "ratio": ratio,
            "unit": "ms a step; ratio = ours / theirs",
            "target": "<= 1.05",
        }
    ]


class Clock(Callback):
    """The time from the start of the training to the end of its last step, validation left out."""

    def on_train_start(self, run: Any) -> None:
        """Start."""
        self.start = time.perf_counter()

    def on_step_end(self, run: Any, lr: float) -> None:
        """Note the time."""
        self.seconds = (time.perf_counter() - self.start) / run.state.step


def _store(folder: Path, n: int) -> SignalStore:
    manifest = write_cohort(folder / "records", n)
    return prepare_store(manifest, PrepareConfig(target_fs=100.0, target_samples=1000, n_jobs=1), folder / "store")


def _model() -> nn.Module:
    torch.manual_seed(0)
    return build_model("resnet1d", n_leads=12, n_samples=1000, fs=100.0, n_classes=len(CLASSES))


def _ours(store: SignalStore, targets: np.ndarray, folder: Path) -> float:
    rows = np.arange(len(store))
    train = Loader(store, rows, targets, batch_size=BATCH, shuffle=True)
    valid = Loader(store, rows[:BATCH], targets[:BATCH], batch_size=BATCH)
    config, clock = TrainConfig(epochs=1, device="cpu"), Clock()
    objective = Supervised("multiclass", transforms=build_pipeline([]))
    fit(_model(), objective, train, valid, config, folder, classes=CLASSES, callbacks=(clock,))
    return clock.seconds


def _bare(store: SignalStore, targets: np.ndarray) -> float:
    signals, labels = torch.from_numpy(store.read(np.arange(len(store)))), torch.from_numpy(targets)
    model = _model().train()
    optimizer = make_optimizer(model, TrainConfig())
    started = time.perf_counter()
    batches = torch.randperm(len(labels)).split(BATCH)
    for chosen in batches:
        loss = nn.functional.cross_entropy(model(signals[chosen]), labels[chosen])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return (time.perf_counter() - started) / len(batches)
