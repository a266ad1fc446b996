"""Callback: base class of observers of a training, and the registry of callbacks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ecgnb.core.errors import ConfigError
from ecgnb.core.progress import say
from ecgnb.core.registry import Registry

if TYPE_CHECKING:
    from ecgnb.training.state import Training

CALLBACKS: Registry[type[Callback]] = Registry("callback")


class Callback:
    """Base class of observers; override the methods you need.

    They run in the process of rank 0. Each receives the
    `ecgnb.training.state.Training`: ``run``, ``files``, ``config``, ``model``,
    ``objective``, ``optimizer``, ``state`` (epoch, batch, step, history), ``loss`` and
    ``lr`` of the last step. They must not change it.

    A training that is interrupted goes on from its last checkpoint, so ``on_step_end``
    and ``on_epoch_end`` may be called again for a step or an epoch. An exception in a
    callback interrupts the training like Ctrl-C does: ``ecgnb.train(run)`` resumes it.
    """

    def on_train_start(self, training: Training) -> None:
        """Before the first step, and again after a resume."""

    def on_step_end(self, training: Training) -> None:
        """After each optimizer step."""

    def on_epoch_end(self, training: Training, row: dict[str, Any]) -> None:
        """After the validation of an epoch; ``row`` is its row of the history."""

    def on_train_end(self, training: Training) -> None:
        """After the last epoch."""


def build_callbacks(callbacks: Iterable[Callback | str]) -> list[Callback]:
    """Return callbacks, given as instances or as registered names.

    Raises:
        ConfigError: an unknown name, or something that is no callback.
    """
    instances = []
    for callback in callbacks:
        if isinstance(callback, str):
            callback = CALLBACKS.get(callback)()
        if not isinstance(callback, Callback):
            raise ConfigError(
                f"{callback!r} is no callback. Use an instance of a subclass of "
                f"ecgnb.training.callbacks.Callback, or one of: {', '.join(CALLBACKS)}."
            )
        instances.append(callback)
    return instances


class EpochLines(Callback):
    """Print one line per epoch; part of every training."""

    def on_train_start(self, training: Training) -> None:
        """Print where a resumed training continues."""
        state = training.state
        if state.step:
            say(
                f"Going on at epoch {state.epoch + 1}, batch {state.batch}, "
                f"step {state.step}."
            )

    def on_epoch_end(self, training: Training, row: dict[str, Any]) -> None:
        """Print losses, scores and throughput."""
        text = (
            f"epoch {row['epoch']}/{training.epochs}: "
            f"train loss {row['train_loss']:.4f}, valid loss {row['valid_loss']:.4f}"
        )
        for name in ("macro_f1", "macro_auroc"):
            if name in row:
                text += f", {name.replace('_', ' ')} {row[name]:.4f}"
        text += f", lr {row['lr']:.2e}, {row['seconds']:.1f} s"
        text += f", {row['records_per_s']:.0f} records/s"
        if row["gpu_memory_mb"]:
            text += f", GPU {row['gpu_memory_mb']:.0f} MB"
        if training.state.best_epoch == row["epoch"]:
            text += " *"
        say(text)

    def on_train_end(self, training: Training) -> None:
        """Print which epoch was the best."""
        state, score = training.state, "undefined"
        if math.isfinite(state.best_score):
            score = f"{abs(state.best_score):.4f}"
        say(
            f"Best epoch {state.best_epoch} with {training.monitor} {score}, "
            f"valid loss {state.best_loss:.4f}."
        )
