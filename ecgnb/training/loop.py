"""The training loop: one for every objective, model and number of devices.

Nothing random has a state here. The order of the records is a function of (seed,
epoch), dropout of (seed, step, rank) and augmentation of (seed, step, record). Weights,
moments and a few counters are therefore all that a checkpoint holds, and a training
that was killed anywhere ends with the same bits as one that never was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.files import remove_leftovers
from ecgnb.core.progress import progress
from ecgnb.data.loading.loaders import Batch, Loader
from ecgnb.data.loading.sampling import mix
from ecgnb.objectives.base import Objective
from ecgnb.training.callbacks import Callback, EpochLines, notify
from ecgnb.training.checkpoint import (
    State,
    check_identity,
    read_checkpoint,
    state_from_dict,
)
from ecgnb.training.config import TrainConfig
from ecgnb.training.devices import deterministic, make_fabric, seed_dropout
from ecgnb.training.fitting import DRY_RUN_BATCHES, Files, Fitting, reported
from ecgnb.training.freezing import freeze, keep_still
from ecgnb.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from ecgnb.training.validation import validate, validation_scores

#: Steps whose losses stay on the device before they are looked at; looking makes a GPU
#: wait.
SETTLE_EVERY = 16


@dataclass(frozen=True)
class FitResult:
    """What came out of a training; the weights are in the files.

    Attributes:
        history: a row an epoch, as in ``history.csv``.
        best_epoch: epoch of ``best_path``, from 1.
        best_score: its value of ``config.monitor``.
        best_path: checkpoint of the best epoch.
        last_path: checkpoint of the last epoch.
        seconds: time spent training and validating, over all sittings.
    """

    history: pd.DataFrame
    best_epoch: int
    best_score: float
    best_path: Path
    last_path: Path
    seconds: float


def fit(
    model: nn.Module,
    objective: Objective,
    train_loader: Loader,
    valid_loader: Loader,
    config: TrainConfig,
    folder: str | Path,
    *,
    classes: Sequence[str] = (),
    task: str = "multiclass",
    identity: str = "",
    fabric: Any = None,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Train ``model`` and write ``checkpoints/best.ckpt``, ``checkpoints/last.ckpt``
    and ``history.csv``.

    A training that was interrupted goes on where its last checkpoint is, and one that
    is done is not done again.

    Args:
        model: built the same way each time, its weights drawn from a fixed seed.
        objective: ``views(batch, seed=, step=, train=)`` and ``loss(model, views)``,
            the mean over the records.
        train_loader: shuffled or weighted batches on the device of ``fabric``.
        valid_loader: batches of the validation split in a fixed order.
        config: how to train.
        folder: folder of the run.
        classes: names of the classes; empty for objectives without labels, which are
            monitored by their loss.
        task: ``"multiclass"`` or ``"multilabel"``.
        identity: hash of everything else that decides the outcome: data, splits, model,
            transforms.
        fabric: from `make_fabric`; made from ``config`` by default.
        callbacks: further listeners.

    Raises:
        ConfigError: loaders and devices do not fit together, or ``freeze`` or
            ``layer_decay`` ask for layers that the model does not tell apart.
        CheckpointError: the checkpoint in ``folder`` is damaged or belongs to another
            configuration or model.
        EcgnbError: the loss is NaN or infinite; the last good checkpoint is kept.
    """
    config = config.for_task(task if classes else "")
    files = Files(Path(folder))
    expected = {
        "run": identity,
        **config.identity(),
        "batches": len(train_loader),
        "batch_size": train_loader.batch_size,
        "processes": train_loader.world_size,
    }
    if train_loader.rank == 0:
        remove_leftovers(files.folder)
    found = _read_last(files, expected)
    if found and found["state"]["done"]:
        state = state_from_dict(found["state"])
        if train_loader.rank == 0:
            files.write_history(state)
        return _result(files, state, config)
    device: Any = train_loader.device.type
    fabric = fabric or make_fabric(replace(config, device=device))
    _check_loaders(fabric, train_loader, valid_loader, config, classes)
    freeze(model, config.freeze)
    optimizer = make_optimizer(
        model.to(fabric.device),
        config,
        fused=fabric.strategy.precision.state_dict() == {},
    )
    wrapped, optimizer = fabric.setup(model, optimizer)
    fitting = Fitting(
        fabric,
        wrapped,
        optimizer,
        objective,
        train_loader,
        valid_loader,
        config,
        files,
        labels={"classes": list(classes), "task": task},
        identity=expected,
        callbacks=(EpochLines(), *callbacks) if fabric.is_global_zero else (),
    )
    if found:
        fitting.restore(found)
    train(fitting)
    return _result(files, fitting.state, config)


def train(fitting: Fitting) -> None:
    """Run all epochs that are left."""
    # The generator of the caller stays as it was; the loop seeds it for each batch.
    with deterministic(), torch.random.fork_rng(devices=[]):
        notify(fitting.callbacks, "on_train_start", fitting)
        while not fitting.state.done:
            train_epoch(fitting)
            finish_epoch(fitting)
        notify(fitting.callbacks, "on_train_end", fitting)
    fitting.fabric.barrier()


def train_epoch(fitting: Fitting) -> None:
    """Make the optimizer steps of one epoch, or what is left of it after a resume."""
    state, config = fitting.state, fitting.config
    fitting.model.train()
    keep_still(fitting.model.module, config.freeze)
    fitting.start_clock()
    with closing(
        fitting.train_loader.epoch(state.epoch, start_batch=state.batch)
    ) as stream:
        for batches in _shown(
            fitting,
            _grouped(islice(stream, fitting.batches_per_epoch - state.batch), config),
        ):
            lr = learning_rate(state.step, fitting.total_steps, config)
            set_learning_rate(fitting.optimizer, lr)
            loss, norm = train_step(fitting, batches)
            fitting.remember(loss, norm, sum(batch.n_global for batch in batches))
            state.step += 1
            state.batch += len(batches)
            if fitting.n_pending == SETTLE_EVERY:
                fitting.settle()
            notify(fitting.callbacks, "on_step_end", fitting, lr)
            if (
                config.checkpoint_every_steps
                and state.step % config.checkpoint_every_steps == 0
            ):
                fitting.save()
    fitting.settle()


def train_step(fitting: Fitting, batches: list[Batch]) -> tuple[Tensor, Tensor]:
    """Make one optimizer step over the records of some batches.

    Each batch counts by its share of the records, so that the step is the one of a
    single big batch, however the records are cut into batches and spread over
    processes.

    Returns:
        This process's share of the mean loss over the records, and the norm of the
        gradient before clipping.
    """
    fabric, config, step = fitting.fabric, fitting.config, fitting.state.step
    n_records = sum(batch.n_global for batch in batches)
    loss = torch.zeros((), device=fabric.device)
    for number, batch in enumerate(batches):
        seed_dropout(mix(config.seed, step, number, fabric.global_rank), fabric.device)
        views = fitting.objective.views(batch, seed=config.seed, step=step, train=True)
        with fabric.no_backward_sync(fitting.model, enabled=number < len(batches) - 1):
            share = fitting.objective.loss(fitting.model, views) * (
                batch.n_local / n_records
            )
            fabric.backward(
                share * fabric.world_size
            )  # processes average their gradients
        loss += share.detach()
    norm = fabric.clip_gradients(
        fitting.model,
        fitting.optimizer,
        max_norm=config.clip_norm or math.inf,
        error_if_nonfinite=False,
    )
    fitting.optimizer.step()
    fitting.optimizer.zero_grad()
    return loss, norm


def finish_epoch(fitting: Fitting) -> None:
    """Validate, write the history's row and the checkpoints, and go to the next
    epoch.
    """
    state, config = fitting.state, fitting.config
    train_loss, training_seconds = state.loss_sum / state.n_records, fitting.tick()
    row: dict[str, Any] = {
        "epoch": state.epoch + 1,
        "train_loss": train_loss,
        **_validation_row(fitting),
    }
    row["lr"] = learning_rate(state.step - 1, fitting.total_steps, config)
    row["seconds"] = fitting.tick()
    row["records_per_s"] = state.n_records / training_seconds
    row["gpu_memory_mb"] = _gpu_memory_mb(fitting.fabric.device)
    state.history.append(row)

    score = -row["valid_loss"] if config.monitor == "loss" else row[config.monitor]
    # The first epoch is kept even when its score is undefined (NaN), so that there is
    # always a best one.
    better = score > state.best_score or state.best_epoch == 0
    if better:
        state.best_epoch, state.stale_epochs = row["epoch"], 0
        state.best_score = score if math.isfinite(score) else state.best_score
        fitting.save_best()
    else:
        state.stale_epochs += 1
    notify(fitting.callbacks, "on_epoch_end", fitting, row)

    state.seconds += row["seconds"]
    state.epoch, state.batch, state.loss_sum, state.n_records, state.epoch_seconds = (
        state.epoch + 1,
        0,
        0.0,
        0,
        0.0,
    )
    patience = config.early_stopping_patience
    state.done = state.epoch >= fitting.epochs or 0 < patience <= state.stale_epochs
    fitting.save()


def _validation_row(fitting: Fitting) -> dict[str, float]:
    """Return the loss and the scores of the validation split; rank 0 scores, so all
    ranks decide alike.
    """
    loss, predictions = validate(
        fitting.fabric,
        fitting.model,
        fitting.valid_loader,
        fitting.objective,
        seed=fitting.config.seed,
        n_batches=DRY_RUN_BATCHES if fitting.config.dry_run else None,
    )
    if not math.isfinite(loss):
        raise EcgnbError(
            f"The validation loss became {loss} after epoch {fitting.state.epoch + 1}; the training loss is finite. "
            "The last step may have diverged: lower lr or clip_norm, or set mixed_precision='no'."
        )
    scores = {}
    if fitting.labels["classes"] and fitting.fabric.is_global_zero:
        scores = validation_scores(
            predictions.targets, predictions.logits, **fitting.labels
        )
    return {"valid_loss": loss, **fitting.fabric.broadcast(scores)}


def _read_last(files: Files, expected: dict[str, Any]) -> dict[str, Any] | None:
    """Return the contents of ``last.ckpt`` after checking whose it is; None where there
    is none.
    """
    if not files.last.is_file():
        return None
    found = read_checkpoint(files.last)
    check_identity(files.last, found["identity"], expected)
    if found["state"]["best_epoch"]:
        read_checkpoint(
            files.best
        )  # a damaged one is better known now than after the last epoch
    return found


def _result(files: Files, state: State, config: TrainConfig) -> FitResult:
    score = (
        reported(state.best_score, config)
        if math.isfinite(state.best_score)
        else math.nan
    )
    return FitResult(
        pd.DataFrame(state.history),
        state.best_epoch,
        score,
        files.best,
        files.last,
        state.seconds,
    )


def _check_loaders(
    fabric: Any,
    train: Loader,
    valid: Loader,
    config: TrainConfig,
    classes: Sequence[str],
) -> None:
    for name, loader in (("training", train), ("validation", valid)):
        has = (loader.device.type, loader.rank, loader.world_size)
        wants = (fabric.device.type, fabric.global_rank, fabric.world_size)
        if has != wants:
            raise ConfigError(
                f"The {name} loader is for device, rank and number of processes {has}, but the training runs on "
                f"{wants}. Make it with device=fabric.device, rank=fabric.global_rank, world_size=fabric.world_size."
            )
    if not classes and config.monitor != "loss":
        raise ConfigError(
            f"monitor={config.monitor!r} needs the names of the classes. Give classes, or monitor='loss'."
        )


def _grouped(batches: Iterator[Batch], config: TrainConfig) -> Iterator[list[Batch]]:
    while group := list(islice(batches, config.grad_accum_steps)):
        yield group


def _shown(fitting: Fitting, groups: Iterator[list[Batch]]) -> Iterable[list[Batch]]:
    if not fitting.fabric.is_global_zero:
        return groups
    left = fitting.steps_per_epoch - math.ceil(
        fitting.state.batch / fitting.config.grad_accum_steps
    )
    return progress(
        groups, total=left, title=f"epoch {fitting.state.epoch + 1}/{fitting.epochs}"
    )


def _gpu_memory_mb(device: torch.device) -> float:
    return (
        torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else 0.0
    )
