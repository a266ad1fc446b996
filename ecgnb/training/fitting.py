"""A training in progress: its parts, its position, and how both are written and read
back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ecgnb.core.errors import EcgnbError
from ecgnb.core.files import write_text
from ecgnb.data.loading.loaders import Loader
from ecgnb.objectives.base import Objective
from ecgnb.training.checkpoint import (
    State,
    load_model_weights,
    save_checkpoint,
    state_from_dict,
    state_to_dict,
)
from ecgnb.training.config import TrainConfig

#: Batches of training and of validation in a dry run.
DRY_RUN_BATCHES = 3


@dataclass(frozen=True)
class Files:
    """Where a training writes, below its folder."""

    folder: Path

    @property
    def last(self) -> Path:
        """Checkpoint to go on from."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """Weights of the best epoch."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def history(self) -> Path:
        """A row an epoch."""
        return self.folder / "history.csv"

    def write_history(self, state: State) -> None:
        """Write ``history.csv`` from the state, so that it never disagrees with the
        checkpoint.
        """
        text = pd.DataFrame(state.history).to_csv(index=False, lineterminator="\n")
        if state.history and not (
            self.history.is_file() and self.history.read_bytes() == text.encode()
        ):
            write_text(self.history, text)


@dataclass
class Fitting:
    """A training in progress, as the loop and the callbacks see it.

    Attributes:
        fabric: devices, precision and processes.
        model: the model as Fabric wrapped it.
        optimizer: its optimizer, wrapped likewise.
        objective: gives the views of a batch and their loss.
        train_loader: batches to learn from.
        valid_loader: batches to choose the best epoch by.
        config: how to train.
        files: where to write.
        labels: ``classes`` and ``task``.
        identity: what must agree before a checkpoint is gone on with.
        callbacks: who is told, each an `ecgnb.training.callbacks.Callback`.
        state: where the training stands.
    """

    fabric: Any
    model: Any
    optimizer: Any
    objective: Objective
    train_loader: Loader
    valid_loader: Loader
    config: TrainConfig
    files: Files
    labels: dict[str, Any]
    identity: dict[str, Any]
    callbacks: Sequence[Any] = ()
    state: State = field(default_factory=State)
    _pending: list[tuple[Tensor, Tensor, int]] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)

    @property
    def epochs(self) -> int:
        """Epochs that this training has at most."""
        return 1 if self.config.dry_run else self.config.epochs

    @property
    def batches_per_epoch(self) -> int:
        """Batches of each process in one epoch."""
        n = len(self.train_loader)
        return (
            min(n, DRY_RUN_BATCHES * self.config.grad_accum_steps)
            if self.config.dry_run
            else n
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return math.ceil(self.batches_per_epoch / self.config.grad_accum_steps)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training, unless it ends early."""
        return self.epochs * self.steps_per_epoch

    def start_clock(self) -> None:
        """Count the epoch's seconds from now on."""
        self._since = time.monotonic()

    def tick(self) -> float:
        """Add the time since the last call to the epoch's and return the seconds of the
        epoch so far.
        """
        now = time.monotonic()
        self.state.epoch_seconds += now - self._since
        self._since = now
        return self.state.epoch_seconds

    def remember(self, loss: Tensor, norm: Tensor, n_records: int) -> None:
        """Keep the loss and the gradient's norm of a step on the device, to be looked
        at by `settle`.
        """
        self._pending.append((loss, norm, n_records))

    @property
    def n_pending(self) -> int:
        """Steps that `settle` has not looked at."""
        return len(self._pending)

    def settle(self) -> None:
        """Add the losses of the last steps to the epoch's sum.

        Raises:
            EcgnbError: a loss or a gradient is NaN or infinite. All processes raise it
                together.
        """
        if not self._pending:
            return
        losses, norms, counts = zip(*self._pending, strict=True)
        summed = self.fabric.all_reduce(torch.stack(losses), reduce_op="sum").tolist()
        lengths = torch.stack(norms).tolist()
        self._pending = []
        for back, (loss, norm, count) in enumerate(
            zip(summed, lengths, counts, strict=True)
        ):
            if not (math.isfinite(loss) and (self.scales_loss or math.isfinite(norm))):
                raise self._not_finite(len(summed) - back, loss, norm)
            self.state.loss_sum += loss * count
            self.state.n_records += count

    @property
    def scales_loss(self) -> bool:
        """Whether the precision scales the loss (float16), where an infinite gradient
        now and then is expected.
        """
        return bool(self.fabric.strategy.precision.state_dict())

    def _not_finite(self, steps_ago: int, loss: float, norm: float) -> EcgnbError:
        state, accumulated = self.state, self.config.grad_accum_steps
        first = (math.ceil(state.batch / accumulated) - steps_ago) * accumulated
        last = min(first + accumulated, self.batches_per_epoch)
        used = [
            self.train_loader.batch_rows(state.epoch, number)
            for number in range(first, last)
        ]
        rows = np.unique(np.concatenate(used))
        bad = self.train_loader.not_finite(rows)
        what = (
            f"The loss became {loss}"
            if not math.isfinite(loss)
            else f"The gradient's norm became {norm}"
        )
        cause = (
            f"The stored signals of rows {_few(bad)} hold NaN or infinities: prepare the store anew without them."
            if bad.size
            else f"Its signals are finite, so the training itself diverged: lower lr (now {self.config.lr:g}), "
            "lower clip_norm or set mixed_precision='no'."
        )
        kept = (
            f" The last good checkpoint is kept: {self.files.last}."
            if self.files.last.is_file()
            else ""
        )
        return EcgnbError(
            f"{what} in epoch {state.epoch + 1} at step {state.step - steps_ago + 1}, over store rows {_few(rows)}. "
            f"{cause}{kept}"
        )

    def save(self) -> None:
        """Write ``last.ckpt`` and the history; rank 0 does it."""
        self.settle()
        self.tick()
        if self.fabric.is_global_zero:
            contents = {
                "identity": self.identity,
                "state": state_to_dict(self.state),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.fabric.strategy.precision.state_dict(),
            }
            save_checkpoint(self.files.last, contents)
            self.files.write_history(self.state)

    def save_best(self) -> None:
        """Write ``best.ckpt``: the weights of the epoch that just ended and what they
        are; rank 0 does it.
        """
        if self.fabric.is_global_zero:
            about = {
                "epoch": self.state.best_epoch,
                "score": reported(self.state.best_score, self.config),
                "monitor": self.config.monitor,
                "identity": self.identity,
                **self.labels,
            }
            save_checkpoint(
                self.files.best, {"model": self.model.state_dict(), **about}
            )

    def restore(self, contents: dict[str, Any]) -> None:
        """Go back to where ``last.ckpt`` was written, whose ``contents`` these are."""
        load_model_weights(self.model, contents["model"], self.files.last)
        self.optimizer.load_state_dict(contents["optimizer"])
        self.fabric.strategy.precision.load_state_dict(contents["scaler"])
        self.state = state_from_dict(contents["state"])
        if self.fabric.is_global_zero:
            self.files.write_history(self.state)


def reported(score: float, config: TrainConfig) -> float:
    """Return a score as people read it: inside, higher is always better, so a loss has
    its sign turned.
    """
    return -score if config.monitor == "loss" else score


def _few(rows: np.ndarray, count: int = 10) -> str:
    more = f" and {len(rows) - count} more" if len(rows) > count else ""
    return ", ".join(map(str, rows[:count].tolist())) + more
