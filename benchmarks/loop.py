"""Overhead of the training loop over a bare PyTorch loop with the same model, optimizer
and clipping.

The bare loop has all signals as tensors in memory and does nothing but forward,
backward, clipping and the step. The loop of ecgnb reads a signal store from disk, seeds
each step, checks losses and gradients, follows a schedule and reports.

    python -m benchmarks --only loop [--quick]
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.measure import row
from benchmarks.preparation import write_cohort
from ecgnb.data.config import PrepareConfig
from ecgnb.data.loading.loaders import Loader
from ecgnb.data.store.preparation import prepare_store
from ecgnb.data.store.store import SignalStore
from ecgnb.models.base import build_model
from ecgnb.objectives.supervised import Supervised
from ecgnb.training.callbacks import Callback
from ecgnb.training.config import TrainConfig
from ecgnb.training.loop import fit
from ecgnb.training.optimizer import make_optimizer
from ecgnb.transforms.pipeline import build_pipeline

CLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
BATCH = 32
#: First steps, which are not counted.
WARM_UP = 3


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure steps of the default ResNet on 12 leads of 10 s at 100 Hz, alternating
    between both loops.

    Returns:
        One row of `benchmarks.measure.row`, medians in ms.
    """
    os.environ["ECGNB_PROGRESS"] = "quiet"
    steps = 16 if quick else 80
    with tempfile.TemporaryDirectory() as name:
        store = _store(Path(name))
        turns = _take_turns(store, Path(name) / "run", steps)
    ours, bare = (statistics.median(times) for times in zip(*turns, strict=True))
    return [
        row(
            f"training step, batch {BATCH}, against a bare loop",
            ours,
            bare,
            "ms",
            ">= 0.95x",
        )
    ]


class Turns(Callback):
    """Run a step of the bare loop after each step; ``times`` holds the ms of both."""

    def __init__(self, bare: Bare) -> None:
        self.bare = bare
        self.times: list[tuple[float, float]] = []

    def on_train_start(self, training: Any) -> None:
        """Start the clock."""
        self.since = time.perf_counter()

    def on_step_end(self, training: Any) -> None:
        """Stop it, and time a bare step without the determinism of the loop."""
        ours = time.perf_counter() - self.since
        torch.use_deterministic_algorithms(False)
        started = time.perf_counter()
        self.bare.step()
        bare = time.perf_counter() - started
        torch.use_deterministic_algorithms(True, warn_only=True)
        self.times.append((1000 * ours, 1000 * bare))
        self.since = time.perf_counter()


class Bare:
    """A minimal training loop with the signals in memory."""

    def __init__(self, signals: torch.Tensor, labels: torch.Tensor) -> None:
        self.signals, self.labels = signals, labels
        self.model = _model().train()
        self.optimizer = make_optimizer(self.model, TrainConfig())

    def step(self) -> None:
        """Forward, backward, clipping, step."""
        chosen = torch.randint(len(self.labels), (BATCH,))
        loss = nn.functional.cross_entropy(
            self.model(self.signals[chosen]), self.labels[chosen]
        )
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def _take_turns(
    store: SignalStore, folder: Path, steps: int
) -> list[tuple[float, float]]:
    rows = np.arange(len(store))
    targets = np.random.default_rng(0).integers(0, len(CLASSES), len(store))
    train = Loader(store, rows, targets, batch_size=BATCH, shuffle=True)
    valid = Loader(store, rows[:BATCH], targets[:BATCH], batch_size=BATCH)
    turns = Turns(Bare(torch.from_numpy(store.read(rows)), torch.from_numpy(targets)))
    objective = Supervised("multiclass", transforms=build_pipeline([]))
    config = TrainConfig(epochs=math.ceil((steps + WARM_UP) / len(train)), device="cpu")
    fit(
        _model(),
        objective,
        train,
        valid,
        config,
        folder,
        classes=CLASSES,
        callbacks=(turns,),
    )
    first_of_epoch = range(
        0, len(turns.times), len(train)
    )  # validation and checkpoint precede them
    kept = [
        times
        for number, times in enumerate(turns.times)
        if number not in first_of_epoch
    ]
    return kept[WARM_UP - 1 :]


def _store(folder: Path) -> SignalStore:
    manifest = write_cohort(folder / "records", 20 * BATCH)
    return prepare_store(
        manifest,
        PrepareConfig(target_fs=100.0, target_samples=1000, n_jobs=1),
        folder / "store",
    )


def _model() -> nn.Module:
    torch.manual_seed(0)
    return build_model(
        "resnet1d", n_leads=12, n_samples=1000, fs=100.0, n_classes=len(CLASSES)
    )
