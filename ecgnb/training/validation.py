"""What a model says about records that it is not trained on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.data.loading.loaders import Loader
from ecgnb.evaluation.calibration import probabilities_from_logits
from ecgnb.evaluation.metrics import compute_metrics
from ecgnb.objectives.base import Objective


class Predictions(NamedTuple):
    """Outputs of a model for some records, in the order of the loader's rows.

    Attributes:
        targets: int64 ``[n]`` class numbers or float32 ``[n, n_classes]``.
        logits: float32 ``[n, n_classes]``, before softmax or sigmoid.
        rows: int64 ``[n]`` rows of the store.
    """

    targets: np.ndarray
    logits: np.ndarray
    rows: np.ndarray


def predict_logits(
    model: nn.Module, loader: Loader, objective: Objective, *, seed: int = 0
) -> Predictions:
    """Return the logits of all records of ``loader``, whose device the model is moved
    to.

    The records go through ``objective.views(..., train=False)``: the same transforms as
    in training, without augmentation.

    Raises:
        ConfigError: the loader shuffles or belongs to one of several processes.
    """
    if loader.world_size > 1:
        raise ConfigError(
            "predict_logits wants a loader of all records: make it with rank=0 and world_size=1."
        )
    logits, _ = run_model(model.to(loader.device), loader, objective, seed=seed)
    return Predictions(loader.targets, logits.cpu().numpy(), loader.rows)


def validate(
    fabric: Any,
    model: nn.Module,
    loader: Loader,
    objective: Objective,
    *,
    seed: int,
    n_batches: int | None = None,
) -> tuple[float, Predictions]:
    """Return the mean loss and the logits over the validation split, the same numbers
    on every rank.

    Each rank computes its part of every batch. The parts are put together by adding: a
    logit is zero on all ranks but one.
    """
    logits, loss_sum = run_model(
        model, loader, objective, seed=seed, n_batches=n_batches
    )
    n = len(logits)
    logits = fabric.all_reduce(logits, reduce_op="sum")
    loss = fabric.all_reduce(loss_sum, reduce_op="sum").item() / n
    return loss, Predictions(
        loader.targets[:n], logits.float().cpu().numpy(), loader.rows[:n]
    )


@torch.no_grad()
def run_model(
    model: nn.Module,
    loader: Loader,
    objective: Objective,
    *,
    seed: int,
    n_batches: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Run ``model`` over the first ``n_batches`` of a loader (all by default) in
    evaluation mode.

    Returns:
        Logits ``[n, n_classes]``, zeros where another rank has the record, and the sum
        of the loss over this rank's records. Both come from one pass: what the model
        put out while the objective computed its loss is kept.
    """
    if loader.shuffle or loader.weights is not None:
        raise ConfigError(
            "Predictions want a loader with shuffle=False and no weights, so that each row comes once."
        )
    logits: Tensor | None = None
    loss_sum = torch.zeros((), device=loader.device)
    n = min(
        loader.n_records,
        (n_batches or len(loader)) * loader.batch_size * loader.world_size,
    )
    was_training = model.training
    model.eval()
    try:
        with (
            _last_output(model) as last_output,
            contextlib.closing(loader.epoch(0)) as stream,
        ):
            for number, batch in enumerate(islice(stream, n_batches)):
                loss = objective.loss(
                    model, objective.views(batch, seed=seed, step=0, train=False)
                )
                loss_sum += loss * batch.n_local
                output = last_output()
                if logits is None:
                    logits = output.new_zeros(
                        (n, *output.shape[1:]), dtype=torch.float32
                    )
                start = loader.part(number).start
                logits[start : start + batch.n_local] = output[: batch.n_local]
    finally:
        model.train(was_training)
    assert logits is not None  # a loader has at least one batch
    return logits, loss_sum


@contextlib.contextmanager
def _last_output(model: nn.Module) -> Iterator[Callable[[], Tensor]]:
    """Give a function that returns what the model put out last."""
    outputs: list[Tensor] = []
    handle = model.register_forward_hook(
        lambda _module, _inputs, output: outputs.append(output)
    )
    try:
        yield outputs.pop
    finally:
        handle.remove()


def validation_scores(
    targets: np.ndarray, logits: np.ndarray, classes: Sequence[str], task: str
) -> dict[str, float]:
    """Return macro F1 and AUROC and those of each class, as columns of the history.

    Several labels are decided at 0.5 each; better thresholds are chosen after the
    training.

    Args:
        targets: int64 ``[n]`` class numbers, or {0, 1} ``[n, n_classes]``.
        logits: ``[n, n_classes]``.
        classes: names of the classes.
        task: ``"multiclass"`` or ``"multilabel"``.

    Returns:
        ``macro_f1``, ``macro_auroc``, ``f1_<class>`` ..., ``auroc_<class>`` ...; NaN
        where a class has no records (or nothing but them) and the number is not
        defined.
    """
    found = compute_metrics(
        targets, probabilities_from_logits(logits, task), tuple(classes), task
    )
    scores = {name: found["headline"][name] for name in ("macro_f1", "macro_auroc")}
    for name in ("f1", "auroc"):
        scores |= {f"{name}_{row['class']}": row[name] for row in found["per_class"]}
    return {
        name: math.nan if score is None else float(score)
        for name, score in scores.items()
    }
