"""Small store, model and objective for tests of the training, importable by the
processes that the tests start."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgnb.data.loading.loaders import Batch, Loader
from ecgnb.data.loading.sampler import mix
from ecgnb.models import build_model
from ecgnb.objectives import Loss, Objective
from ecgnb.training.callbacks import Callback
from ecgnb.training.config import TrainConfig
from ecgnb.training.devices import make_fabric
from ecgnb.training.launch import launch
from ecgnb.training.loop import FitResult, fit

CLASSES = ("NORM", "MI", "CD")


class FakeStore:
    """Noise with a bump whose position is the class; int16 numbers and scales, like a real
    store."""

    def __init__(self, n: int = 50, n_leads: int = 2, n_samples: int = 48) -> None:
        rng = np.random.default_rng(7)
        self.labels = rng.integers(0, len(CLASSES), n)
        signal = rng.normal(0, 0.5, (n, n_leads, n_samples))
        for row, label in enumerate(self.labels):
            signal[row, :, 12 * label : 12 * label + 12] += 0.8
        self.scales = (np.abs(signal).max(axis=2, keepdims=True) / 32767).astype(
            np.float32
        )
        self.numbers = np.round(signal / self.scales).astype(np.int16)
        self.limits = np.column_stack(
            [rng.integers(0, 5, n), rng.integers(30, n_samples + 1, n)]
        )
        self.n_leads, self.n_samples = n_leads, n_samples
        self.calls = 0

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, rows: np.ndarray) -> np.ndarray:
        self.calls += 1
        return self.numbers[rows].astype(np.float32) * self.scales[rows]

    def raw(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.numbers[rows], self.scales[rows]

    def valid(self, rows: np.ndarray) -> np.ndarray:
        return self.limits[rows]


def make_model(
    norm: str = "group", dropout: float = 0.2, n_leads: int = 2
) -> nn.Module:
    """A tiny network with that norm, or for "resnet1d" a tiny backbone with groups of
    layers."""
    torch.manual_seed(1)
    if norm == "resnet1d":
        words: dict[str, Any] = {
            "n_leads": n_leads,
            "n_samples": 48,
            "fs": 100.0,
            "n_classes": len(CLASSES),
        }
        return build_model(
            norm, **words, widths=(4, 8), depths=(1, 1), kernel=3, dropout=dropout
        )
    return nn.Sequential(
        nn.Conv1d(n_leads, 8, 7, padding=3, bias=False),
        nn.GroupNorm(2, 8) if norm == "group" else nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv1d(8, 8, 5, stride=4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 11, len(CLASSES)),
    )


class FakeObjective(Objective):
    """Cross entropy after an augmentation that depends on (seed, step, record)
    alone."""

    def __init__(self, noise: float = 0.05, spoil_step: int = -1) -> None:
        super().__init__()
        self.noise, self.spoil_step = noise, spoil_step

    def views(
        self, batch: Batch, *, seed: int, step: int, train: bool
    ) -> tuple[Tensor, Tensor]:
        signal = batch.signal
        if train and self.noise:
            gains = [
                1 + self.noise * (mix(seed, step, row) / 2**63 - 0.5)
                for row in batch.index.tolist()
            ]
            signal = signal * torch.tensor(gains).view(-1, 1, 1)
        if train and step == self.spoil_step:
            signal = signal * float("inf")
        return signal, batch.target

    def loss(self, model: nn.Module, views: tuple[Tensor, Tensor]) -> Loss:
        logits = model(views[0])
        if views[1].ndim == 2:
            value = functional.binary_cross_entropy_with_logits(logits, views[1])
        else:
            value = functional.cross_entropy(logits, views[1])
        return Loss(value, logits)


def make_loaders(
    config: TrainConfig,
    store: FakeStore | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> tuple[Loader, Loader]:
    store = store or FakeStore()
    rows = np.arange(len(store))
    cut = len(store) * 3 // 4
    settings: dict[str, Any] = {
        "batch_size": config.batch_size_cpu,
        "rank": rank,
        "world_size": world_size,
    }
    train = Loader(
        store,
        rows[:cut],
        store.labels[:cut],
        seed=config.seed,
        shuffle=True,
        **settings,
    )
    return train, Loader(store, rows[cut:], store.labels[cut:], **settings)


def fit_fake(
    config: TrainConfig,
    folder: str | Path,
    *,
    norm: str = "group",
    dropout: float = 0.2,
    callbacks: tuple[Callback, ...] = (),
    objective: Any = None,
    fabric: Any = None,
    identity: str = "fake",
) -> FitResult:
    """Train the tiny model on the fake store, on the CPU and one thread."""
    torch.set_num_threads(1)
    world = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    train, valid = make_loaders(config, None, *world)
    return fit(
        make_model(norm, dropout),
        objective or FakeObjective(),
        train,
        valid,
        config,
        folder,
        classes=CLASSES,
        identity=identity,
        fabric=fabric,
        callbacks=callbacks,
    )


class StopAt(Callback):
    """Interrupt the training after some step; of several processes rank 0 is killed."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, training: Any) -> None:
        if training.state.step != self.step:
            return
        if training.fabric.world_size > 1:
            kill_this_process()
        raise KeyboardInterrupt


def train_in_process(
    settings: dict[str, Any], folder: str, norm: str, dropout: float, stop_at: int
) -> None:
    """One rank of a training over several processes."""
    config = TrainConfig(**settings)
    fabric = make_fabric(config)
    fit_fake(
        config,
        folder,
        norm=norm,
        dropout=dropout,
        fabric=fabric,
        callbacks=(StopAt(stop_at),),
    )


def spawn_training(
    settings: dict[str, Any], folder: Path, norm: str, dropout: float, stop_at: int = -1
) -> None:
    launch(
        train_in_process,
        TrainConfig(**settings),
        settings,
        str(folder),
        norm,
        dropout,
        stop_at,
    )


def note_rank(folder: str) -> None:
    """Write a file named after this process and its rank."""
    (Path(folder) / f"{os.getpid()}-{os.environ.get('RANK')}").touch()


class KillAfter(Callback):
    """Kill this process, without any warning, some seconds after the training began."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_start(self, training: Any) -> None:
        timer = threading.Timer(self.seconds, kill_this_process)
        timer.daemon = True
        timer.start()


def kill_this_process() -> None:
    os.kill(
        os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM)
    )  # SIGTERM is as hard on Windows


def fit_and_be_killed(
    config: TrainConfig, folder: Path, delay: float, norm: str, errors: Path
) -> None:
    """Train in a process that is killed ``delay`` seconds after the training began,
    never if that is negative; what goes wrong is written to ``errors``.
    """
    with open(errors, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 2)
    killers = (KillAfter(delay),) if delay >= 0 else ()
    fit_fake(config, folder, norm=norm, callbacks=killers)
