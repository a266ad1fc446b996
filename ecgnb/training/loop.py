"""Training loop: one for every objective, model and number of devices.

Nothing random has a state here. The order of the records is a function of (seed,
epoch), dropout of (seed, step, rank) and augmentation of (seed, step, record). Weights,
moments and a few counters are therefore all that a checkpoint holds, and a training
that was killed anywhere ends with the same bits as one that never was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.files import remove_leftovers
from ecgnb.core.progress import progress, say
from ecgnb.data.loading.loaders import Batch, Loader
from ecgnb.data.loading.sampler import mix
from ecgnb.objectives.base import Learner, Objective, compute_loss
from ecgnb.training.callbacks import Callback, EpochLines
from ecgnb.training.checkpoint import check_identity, read_checkpoint
from ecgnb.training.config import TrainConfig
from ecgnb.training.devices import deterministic, make_fabric, seed_dropout
from ecgnb.training.freezing import freeze, set_frozen_to_eval
from ecgnb.training.memory import batch_message, call_within_memory, model_message
from ecgnb.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from ecgnb.training.state import (
    DRY_RUN_BATCHES,
    Files,
    State,
    Training,
    best_score,
    monitor_of,
)
from ecgnb.training.validation import Predictions, validate, validation_scores

#: Steps between two reads of the losses, which make a GPU wait.
COLLECT_EVERY = 16


@dataclass(frozen=True)
class FitResult:
    """Outcome of a training; the weights are in the files.

    Attributes:
        history: one row per epoch, as in ``history.csv``.
        best_epoch: epoch of ``best_path``, from 1.
        best_score: its value of the monitored number.
        monitor: name of the monitored number, ``"loss"`` where there are no scores.
        best_path: checkpoint of the best epoch.
        last_path: checkpoint of the last epoch.
        seconds: time spent training and validating, over all resumed parts.
    """

    history: pd.DataFrame
    best_epoch: int
    best_score: float
    monitor: str
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
    run: Any = None,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Train ``model`` and write ``checkpoints/best.ckpt``, ``checkpoints/last.ckpt``
    and ``history.csv``.

    A training that was interrupted resumes from its last checkpoint, and one that is
    done is not repeated.

    Args:
        model: built the same way each time, its weights drawn from a fixed seed.
        objective: computes the loss; its parameters are trained as well.
        train_loader: shuffled or weighted batches on the device of ``fabric``.
        valid_loader: batches of the validation split in a fixed order.
        config: how to train.
        folder: folder of the run.
        classes: names of the classes; empty without labels, where the loss is
            monitored.
        task: ``"multiclass"`` or ``"multilabel"``.
        identity: hash of everything else that decides the outcome: data, splits, model,
            transforms.
        fabric: from `make_fabric`; created from ``config`` by default.
        run: the run, for the callbacks.
        callbacks: observers besides `EpochLines`.

    Raises:
        ConfigError: loaders and devices do not fit together, or ``freeze`` or
            ``layer_decay`` need groups of layers that the model does not have.
        CheckpointError: the checkpoint in ``folder`` is damaged or belongs to another
            configuration or model.
        EcgnbError: the loss is NaN or infinite, or the memory ran out; the last good
            checkpoint is kept.
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
    checkpoint = _read_last(files, expected)
    if checkpoint and checkpoint["state"]["done"]:
        state = State(**checkpoint["state"])
        if train_loader.rank == 0:
            files.write_history(state.history)
        return _result(files, state, config)

    if fabric is None:
        device: Any = train_loader.device.type
        fabric = make_fabric(replace(config, device=device))
    _check_loaders(fabric, train_loader, valid_loader, config, classes)
    learner, optimizer = call_within_memory(
        lambda: _set_up(fabric, model, objective, config),
        lambda: model_message(fabric.device, model),
    )
    training = Training(
        fabric=fabric,
        learner=learner,
        model=model,
        objective=objective,
        optimizer=optimizer,
        train_loader=train_loader,
        valid_loader=valid_loader,
        config=config,
        files=files,
        labels={"classes": list(classes), "task": task},
        identity=expected,
        run=run,
    )
    if fabric.is_global_zero:
        training.callbacks = (EpochLines(), *callbacks)
    if checkpoint:
        training.restore(checkpoint)

    call_within_memory(lambda: _run_epochs(training), lambda: batch_message(training))
    fabric.barrier()
    return _result(files, training.state, config)


def _set_up(
    fabric: Any, model: nn.Module, objective: Objective, config: TrainConfig
) -> tuple[Any, Any]:
    """Return model and objective as one learner, and its optimizer, on the device."""
    freeze(model, config.freeze)
    learner = Learner(model, objective).to(fabric.device)
    fused = not fabric.strategy.precision.state_dict()  # empty: no gradient scaler
    optimizer = make_optimizer(model, config, objective=objective, fused=fused)
    return fabric.setup(learner, optimizer)


def _run_epochs(training: Training) -> None:
    # The generator of the caller stays as it was; the loop seeds it for each batch.
    with deterministic(), torch.random.fork_rng(devices=[]):
        if training.state.step == 0:
            training.objective.on_train_start(training.model)
        training.notify("on_train_start")
        while not training.state.done:
            train_epoch(training)
            finish_epoch(training)
        training.notify("on_train_end")


def train_epoch(training: Training) -> None:
    """Run the optimizer steps of one epoch, or the remaining ones after a resume."""
    state, config = training.state, training.config
    training.learner.train()  # sets the frozen part to training mode as well
    set_frozen_to_eval(training.model, config.freeze)
    training.start_clock()
    stream = training.train_loader.epoch(state.epoch, start_batch=state.batch)
    with closing(stream):
        remaining = islice(stream, training.batches_per_epoch - state.batch)
        for batches in _grouped(remaining, training):
            training.lr = learning_rate(state.step, training.total_steps, config)
            set_learning_rate(training.optimizer, training.lr)
            train_step(training, batches)
            state.step += 1
            state.batch += len(batches)
            if len(training.pending) == COLLECT_EVERY:
                training.collect()
            with torch.no_grad():
                training.objective.on_step_end(
                    training.model, state.step, training.total_steps
                )
            training.notify("on_step_end")
            every = config.checkpoint_every_steps
            if every and state.step % every == 0:
                training.save()
    training.collect()


def _grouped(batches: Iterator[Batch], training: Training) -> Iterator[list[Batch]]:
    """Yield the batches of each optimizer step, with a progress bar on rank 0."""
    state, size = training.state, training.config.grad_accum_steps
    finished = math.ceil(state.batch / size)
    steps: Any = range(finished, training.steps_per_epoch)
    if training.fabric.is_global_zero:
        title = f"epoch {state.epoch + 1}/{training.epochs}"
        steps = progress(steps, title=title)
    for _ in steps:
        yield list(islice(batches, size))


def train_step(training: Training, batches: list[Batch]) -> None:
    """Run one optimizer step over the records of some batches.

    The weight of a batch is its share of the records, so that the step is the one of a
    single big batch, however the records are cut into batches and spread over
    processes.
    """
    fabric, config, objective = training.fabric, training.config, training.objective
    learner = training.learner
    seed, step = config.seed, training.state.step
    n_records = sum(batch.n_global for batch in batches)
    scalars: Any = 0.0
    for number, batch in enumerate(batches):
        seed_dropout(mix(seed, step, number, fabric.global_rank), fabric.device)
        views = objective.views(batch, seed=seed, step=step, train=True)
        # 0 on a rank that borrowed a record to take part in the exchange of gradients
        weight = batch.n_local / n_records
        is_last = batch is batches[-1]
        with fabric.no_backward_sync(learner, enabled=not is_last):
            loss = compute_loss(learner, objective, views)
            # DDP averages the gradients over the processes, but this is a sum.
            fabric.backward(loss.value * weight * fabric.world_size)
        scalars = scalars + loss.scalars() * weight
    norm = fabric.clip_gradients(
        learner,
        training.optimizer,
        max_norm=config.clip_norm or math.inf,
        error_if_nonfinite=False,
    )
    training.optimizer.step()
    training.optimizer.zero_grad()
    scalars = fabric.all_reduce(scalars, reduce_op="sum")
    training.record_step(scalars, sorted(loss.metrics), norm, n_records)


def finish_epoch(training: Training) -> None:
    """Validate, write the row of the history and the checkpoints, and advance to the
    next epoch.
    """
    state, config = training.state, training.config
    row = _validated_row(training)
    state.history.append(row)
    _keep_best(training, row)
    with torch.no_grad():
        training.objective.on_epoch_end(training.model, row["epoch"])
    training.notify("on_epoch_end", row)

    state.seconds += row["seconds"]
    state.epoch += 1
    state.batch = state.n_records = 0
    state.loss_sum = state.epoch_seconds = 0.0
    state.metric_sums = {}
    patience = config.early_stopping_patience
    is_stale = 0 < patience <= state.stale_epochs
    if is_stale and state.epoch < training.epochs and training.fabric.is_global_zero:
        say(
            f"Stopped early: neither {training.monitor} nor the validation loss "
            f"improved for {patience} epochs (EARLY_STOPPING_PATIENCE)."
        )
    state.done = is_stale or state.epoch >= training.epochs
    training.save()


def _validated_row(training: Training) -> dict[str, Any]:
    """Return the row of the history: losses, scores and metrics of both splits."""
    state, config = training.state, training.config
    training_seconds = training.update_clock()
    result = validate(
        training.fabric,
        training.learner,
        training.objective,
        training.valid_loader,
        seed=config.seed,
        n_batches=DRY_RUN_BATCHES if config.dry_run else None,
    )
    if not math.isfinite(result.loss):
        raise EcgnbError(
            f"The validation loss became {result.loss} after epoch {state.epoch + 1}; "
            "the training loss is finite. The last step may have diverged: lower lr or "
            "clip_norm, or set mixed_precision='no'."
        )
    row = {
        "epoch": state.epoch + 1,
        "train_loss": state.loss_sum / state.n_records,
        "valid_loss": result.loss,
        **_scores(training, result.predictions),
    }
    for name, total in state.metric_sums.items():
        row[f"train_{name}"] = total / state.n_records
    for name, value in result.metrics.items():
        row[f"valid_{name}"] = value
    row["lr"] = learning_rate(state.step - 1, training.total_steps, config)
    row["seconds"] = training.update_clock()
    row["records_per_s"] = state.n_records / training_seconds
    row["gpu_memory_mb"] = 0.0
    device = training.fabric.device
    if device.type == "cuda":
        row["gpu_memory_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
    return row


def _scores(training: Training, predictions: Predictions | None) -> dict[str, float]:
    """Return scores of the validation split; rank 0 computes them, so that all ranks
    decide alike.
    """
    scores: dict[str, float] = {}
    labels = training.labels
    if predictions and labels["classes"] and training.fabric.is_global_zero:
        scores = validation_scores(predictions.targets, predictions.logits, **labels)
    return training.fabric.broadcast(scores)


def _keep_best(training: Training, row: dict[str, Any]) -> None:
    """Write ``best.ckpt`` when the epoch of ``row`` is the best one so far."""
    state = training.state
    monitor, configured = training.monitor, training.config.monitor
    is_first = state.epoch == 0
    if monitor != configured and is_first and training.fabric.is_global_zero:
        say(
            f"{type(training.objective).__name__} returns no outputs for "
            f"{configured}: the best epoch is the one with the lowest loss."
        )
    loss = row["valid_loss"]
    score = -loss if monitor == "loss" else row[monitor]
    if is_first and not math.isfinite(score) and training.fabric.is_global_zero:
        say(
            f"{monitor} is undefined on the validation split, which lacks outcomes of "
            "every class: the lowest validation loss decides until it is defined."
        )
    if state.is_new_best(row["epoch"], score, loss):
        training.save_best()


def _read_last(files: Files, expected: dict[str, Any]) -> dict[str, Any] | None:
    """Return the contents of ``last.ckpt`` after a check of its identity; None where
    there is none.
    """
    if not files.last.is_file():
        return None
    checkpoint = read_checkpoint(files.last)
    check_identity(files.last, checkpoint["identity"], expected)
    if checkpoint["state"]["best_epoch"]:
        read_checkpoint(files.best)  # raise now if damaged, not after the last epoch
    return checkpoint


def _result(files: Files, state: State, config: TrainConfig) -> FitResult:
    return FitResult(
        history=pd.DataFrame(state.history),
        best_epoch=state.best_epoch,
        best_score=best_score(config, state),
        monitor=monitor_of(config, state),
        best_path=files.best,
        last_path=files.last,
        seconds=state.seconds,
    )


def _check_loaders(
    fabric: Any,
    train: Loader,
    valid: Loader,
    config: TrainConfig,
    classes: Sequence[str],
) -> None:
    expected = (fabric.device.type, fabric.global_rank, fabric.world_size)
    for name, loader in (("training", train), ("validation", valid)):
        actual = (loader.device.type, loader.rank, loader.world_size)
        if actual != expected:
            raise ConfigError(
                f"The {name} loader is for device, rank and number of processes "
                f"{actual}, but the training runs on {expected}. Create it with "
                "device=fabric.device, rank=fabric.global_rank, "
                "world_size=fabric.world_size."
            )
    if not classes and config.monitor != "loss":
        raise ConfigError(
            f"monitor={config.monitor!r} needs the names of the classes. "
            "Pass classes, or monitor='loss'."
        )
