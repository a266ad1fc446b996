"""Training in progress: its parts and position, saving and resuming."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ecgnb.core.errors import EcgnbError, first_few
from ecgnb.core.files import write_text
from ecgnb.data.loading.loaders import Loader
from ecgnb.objectives.base import Objective
from ecgnb.training.checkpoint import load_weights, save_checkpoint
from ecgnb.training.config import TrainConfig

#: Steps of training and batches of validation in a dry run.
DRY_RUN_BATCHES = 3
#: Scores that differ by less are equal: sums of the same fractions in another order.
SCORE_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Files:
    """Files of a training in the folder of its run."""

    folder: Path

    @property
    def last(self) -> Path:
        """Checkpoint to resume from."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """Weights of the best epoch."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def history(self) -> Path:
        """Table with one row per epoch."""
        return self.folder / "history.csv"

    def write_history(self, rows: list[dict[str, Any]]) -> None:
        """Write ``history.csv``, unless it has these rows already."""
        if not rows:
            return
        text = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
        if not self.history.is_file() or self.history.read_bytes() != text.encode():
            write_text(self.history, text)


@dataclass
class State:
    """Position of a training. Weights and optimizer are saved beside it; randomness
    needs no state.

    Attributes:
        epoch: epoch that is running, from 0.
        batch: finished batches of this epoch.
        step: optimizer steps since the start.
        loss_sum: sum of the training loss over the records of this epoch so far.
        metric_sums: the same for each metric of the objective.
        n_records: records of this epoch so far, over all processes.
        epoch_seconds: time spent in this epoch so far.
        seconds: time spent in all finished epochs.
        best_score: score of the best epoch so far; higher is better.
        best_loss: validation loss of the best epoch.
        best_epoch: number of the best epoch, from 1; 0 before the first.
        lowest_loss: lowest validation loss so far, of any epoch.
        stale_epochs: epochs since the score or the validation loss last improved.
        history: one row per epoch.
        done: the training has ended.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    metric_sums: dict[str, float] = field(default_factory=dict)
    n_records: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    best_score: float = -math.inf
    best_loss: float = math.inf
    best_epoch: int = 0
    lowest_loss: float = math.inf
    stale_epochs: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False

    def is_new_best(self, epoch: int, score: float, loss: float) -> bool:
        """Compare a finished epoch with the best one so far, and count the epochs
        without improvement.

        Of equal scores the one with the lower validation loss is better: macro F1 and
        AUROC stay at 1, or at any other value, while the model still improves. An
        undefined score is below all others, so that the loss alone decides while no
        score is defined. An epoch with a lower loss than all before is no stale one,
        even where its score is not the best.

        Args:
            epoch: its number, from 1.
            score: the monitored number, higher is better; NaN where it is undefined.
            loss: validation loss, finite.
        """
        score = score if math.isfinite(score) else -math.inf
        tied = math.isclose(score, self.best_score, rel_tol=0, abs_tol=SCORE_TOLERANCE)
        is_best = loss < self.best_loss if tied else score > self.best_score
        if is_best:
            self.best_score, self.best_loss = score, loss
            self.best_epoch = epoch
        improved = is_best or loss < self.lowest_loss
        self.lowest_loss = min(loss, self.lowest_loss)
        self.stale_epochs = 0 if improved else self.stale_epochs + 1
        return is_best


@dataclass
class Training:
    """A training in progress, as the loop and the callbacks see it.

    Attributes:
        fabric: devices, precision and processes.
        learner: model and objective, wrapped by Fabric.
        model: the model that is trained, without wrapper.
        objective: computes views and loss of a batch.
        optimizer: the optimizer, wrapped by Fabric.
        train_loader: batches of the training split.
        valid_loader: batches of the validation split.
        config: how to train.
        files: where checkpoints and history are written.
        labels: ``classes`` and ``task``.
        identity: values that must agree with those of a checkpoint to resume from it.
        run: the run that is trained, None outside of a run.
        callbacks: observers, each an `ecgnb.training.callbacks.Callback`.
        state: position of the training.
        lr: learning rate of the last step.
        pending: results of the steps since the last `collect`, on the device.
    """

    fabric: Any
    learner: Any
    model: nn.Module
    objective: Objective
    optimizer: Any
    train_loader: Loader
    valid_loader: Loader
    config: TrainConfig
    files: Files
    labels: dict[str, Any]
    identity: dict[str, Any]
    run: Any = None
    callbacks: Sequence[Any] = ()
    state: State = field(default_factory=State)
    lr: float = math.nan
    _step_loss: Tensor | None = None
    pending: list[tuple[Tensor, Tensor, int]] = field(default_factory=list)
    _metric_names: list[str] = field(default_factory=list)
    _clock: float = field(default_factory=time.monotonic)

    @property
    def loss(self) -> float:
        """Mean loss over the records of the last step; reading it waits for a GPU."""
        return math.nan if self._step_loss is None else float(self._step_loss)

    @property
    def epochs(self) -> int:
        """Largest number of epochs of this training."""
        return 1 if self.config.dry_run else self.config.epochs

    @property
    def batches_per_epoch(self) -> int:
        """Batches of each process in one epoch."""
        n = len(self.train_loader)
        if self.config.dry_run:
            n = min(n, DRY_RUN_BATCHES * self.config.grad_accum_steps)
        return n

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return math.ceil(self.batches_per_epoch / self.config.grad_accum_steps)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training, unless it ends early."""
        return self.epochs * self.steps_per_epoch

    @property
    def monitor(self) -> str:
        """Criterion of the best epoch: the loss where the objective has no logits."""
        return monitor_of(self.config, self.state)

    def notify(self, method: str, *arguments: Any) -> None:
        """Call one method of all callbacks, in their order."""
        for callback in self.callbacks:
            getattr(callback, method)(self, *arguments)

    def start_clock(self) -> None:
        """Count the seconds of the epoch from now on."""
        self._clock = time.monotonic()

    def update_clock(self) -> float:
        """Return the seconds of the epoch so far."""
        now = time.monotonic()
        self.state.epoch_seconds += now - self._clock
        self._clock = now
        return self.state.epoch_seconds

    def record_step(
        self, values: Tensor, metric_names: list[str], norm: Tensor, n_records: int
    ) -> None:
        """Keep the results of a step on the device until `collect` reads them.

        Args:
            values: means of the loss and of the metrics over the records of the step.
            metric_names: names of the metrics, the same in every step.
            norm: norm of the gradient.
            n_records: records of the step, over all processes.
        """
        if self.state.batch and self._metric_names not in ([], metric_names):
            raise EcgnbError(
                f"The metrics of {type(self.objective).__name__} changed from "
                f"{self._metric_names} to {metric_names}. Return the same ones in "
                "every step."
            )
        self._metric_names = metric_names
        self._step_loss = values[0]
        self.pending.append((values, norm, n_records))

    def collect(self) -> None:
        """Add the results of the last steps to the sums of the epoch.

        Raises:
            EcgnbError: a loss or a gradient is NaN or infinite. All processes raise it
                together.
        """
        if not self.pending:
            return
        values, norms, counts = zip(*self.pending, strict=True)
        self.pending = []
        # One transfer from the device for all steps.
        rows = torch.stack(values).tolist()
        lengths = torch.stack(norms).tolist()
        sums = self.state.metric_sums
        steps = zip(rows, lengths, counts, strict=True)
        for index, (row, norm, count) in enumerate(steps):
            loss, *metrics = row
            if not (math.isfinite(loss) and (self.scales_loss or math.isfinite(norm))):
                raise self._not_finite(len(rows) - index, loss, norm)
            self.state.loss_sum += loss * count
            self.state.n_records += count
            for name, metric in zip(self._metric_names, metrics, strict=True):
                sums[name] = sums.get(name, 0.0) + metric * count

    @property
    def scales_loss(self) -> bool:
        """Whether the precision scales the loss (float16), where an infinite gradient
        now and then is expected.
        """
        return bool(self.fabric.strategy.precision.state_dict())

    def _not_finite(self, steps_ago: int, loss: float, norm: float) -> EcgnbError:
        state, accumulated = self.state, self.config.grad_accum_steps
        # Batches of the step that failed; state.batch counts those of later steps too.
        first = (math.ceil(state.batch / accumulated) - steps_ago) * accumulated
        last = min(first + accumulated, self.batches_per_epoch)
        batches = [
            self.train_loader.batch_rows(state.epoch, number)
            for number in range(first, last)
        ]
        rows = np.unique(np.concatenate(batches))
        bad = self.train_loader.not_finite(rows)
        message = f"The gradient's norm became {norm}"
        if not math.isfinite(loss):
            message = f"The loss became {loss}"
        message += (
            f" in epoch {state.epoch + 1} at step {state.step - steps_ago + 1}, over "
            f"store rows {first_few(rows.tolist(), 10)}."
        )
        if bad.size:
            message += (
                f" The stored signals of rows {first_few(bad.tolist(), 10)} contain "
                "NaN or infinities: prepare the store anew without them."
            )
        else:
            message += (
                " Its signals are finite, so the training itself diverged: lower lr "
                f"(now {self.config.lr:g}), lower clip_norm or set "
                "mixed_precision='no'."
            )
        if self.files.last.is_file():
            message += f" The last good checkpoint is kept: {self.files.last}."
        return EcgnbError(message)

    def save(self) -> None:
        """Write ``last.ckpt`` and the history, in the process of rank 0."""
        self.collect()
        self.update_clock()
        if self.fabric.is_global_zero:
            contents = {
                "identity": self.identity,
                "state": asdict(self.state),
                "model": self.model.state_dict(),
                "objective": self.objective.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.fabric.strategy.precision.state_dict(),
            }
            save_checkpoint(self.files.last, contents)
            self.files.write_history(self.state.history)

    def save_best(self) -> None:
        """Write ``best.ckpt``, the weights of the last epoch, in the process of
        rank 0.
        """
        if self.fabric.is_global_zero:
            contents = {
                "model": self.model.state_dict(),
                "objective": self.objective.state_dict(),
                "epoch": self.state.best_epoch,
                "score": best_score(self.config, self.state),
                "loss": self.state.best_loss,
                "monitor": self.monitor,
                "identity": self.identity,
                **self.labels,
            }
            save_checkpoint(self.files.best, contents)

    def restore(self, contents: dict[str, Any]) -> None:
        """Resume from the contents of ``last.ckpt``."""
        load_weights(self.model, contents["model"], self.files.last)
        load_weights(self.objective, contents["objective"], self.files.last)
        self.optimizer.load_state_dict(contents["optimizer"])
        self.fabric.strategy.precision.load_state_dict(contents["scaler"])
        self.state = State(**contents["state"])
        if self.fabric.is_global_zero:
            self.files.write_history(self.state.history)


def monitor_of(config: TrainConfig, state: State) -> str:
    """Return ``config.monitor``, or ``"loss"`` where the history has no such column."""
    if state.history and config.monitor not in state.history[0]:
        return "loss"
    return config.monitor


def best_score(config: TrainConfig, state: State) -> float:
    """Return the best value of the monitored number, NaN where it was never defined.

    In `State` higher is always better, so a loss has its sign changed there.
    """
    if not math.isfinite(state.best_score):
        return math.nan
    if monitor_of(config, state) == "loss":
        return -state.best_score
    return state.best_score
