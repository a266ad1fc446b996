"""Validation: loss, logits and scores over records that are not trained on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.data.loading.loaders import Loader
from ecgnb.evaluation.calibration import probabilities_from_logits
from ecgnb.evaluation.metrics import compute_metrics
from ecgnb.objectives.base import Learner, Objective, compute_loss


class Predictions(NamedTuple):
    """Logits of some records, in the order of the loader's rows.

    Attributes:
        targets: int64 ``[n]`` class numbers or float32 ``[n, n_classes]``.
        logits: float32 ``[n, n_classes]``, before softmax or sigmoid.
        rows: int64 ``[n]`` rows of the store.
    """

    targets: np.ndarray
    logits: np.ndarray
    rows: np.ndarray


class Sums(NamedTuple):
    """Results of one pass over a loader, of this rank's records.

    Attributes:
        logits: float32 ``[n, n_classes]``, zeros where another rank has the record;
            None from an objective without outputs.
        scalars: float32 ``[1 + n_metrics]``, sums over the records of the loss and of
            the metrics.
        metric_names: names of the metrics.
        n_records: records of all ranks.
    """

    logits: Tensor | None
    scalars: Tensor
    metric_names: list[str]
    n_records: int


class Validation(NamedTuple):
    """Results over the validation split, the same on every rank.

    Attributes:
        loss: mean over the records.
        metrics: means of the objective's metrics over the records.
        predictions: None from an objective without outputs.
    """

    loss: float
    metrics: dict[str, float]
    predictions: Predictions | None


def predict_logits(
    model: nn.Module, loader: Loader, objective: Objective, *, seed: int = 0
) -> Predictions:
    """Return the logits of all records of ``loader``; the model is moved to its device.

    The records go through ``objective.views(..., train=False)``: the same transforms as
    in training, without augmentation.

    Raises:
        ConfigError: the loader shuffles or belongs to one of several processes, or the
            objective returns no outputs.
    """
    if loader.world_size > 1:
        raise ConfigError(
            "predict_logits needs a loader of all records: create it with rank=0 and "
            "world_size=1."
        )
    learner = Learner(model, objective).to(loader.device)
    logits = run_learner(learner, objective, loader, seed=seed).logits
    if logits is None:
        raise ConfigError(
            f"{type(objective).__name__} returns no outputs, so there are no class "
            "probabilities to evaluate. Train a classifier that starts from the model."
        )
    return Predictions(loader.targets, logits.cpu().numpy(), loader.rows)


def validate(
    fabric: Any,
    learner: Any,
    objective: Objective,
    loader: Loader,
    *,
    seed: int,
    n_batches: int | None = None,
) -> Validation:
    """Compute loss, metrics and logits over the validation split.

    Each rank computes its part of every batch. The parts are combined by a sum: a logit
    is zero on all ranks but one.
    """
    sums = run_learner(learner, objective, loader, seed=seed, n_batches=n_batches)
    n = sums.n_records
    predictions = None
    if sums.logits is not None:
        logits = fabric.all_reduce(sums.logits, reduce_op="sum").float().cpu().numpy()
        predictions = Predictions(loader.targets[:n], logits, loader.rows[:n])
    scalars = fabric.all_reduce(sums.scalars, reduce_op="sum").tolist()
    loss, *metrics = [scalar / n for scalar in scalars]
    return Validation(
        loss, dict(zip(sums.metric_names, metrics, strict=True)), predictions
    )


@torch.no_grad()
def run_learner(
    learner: Any,
    objective: Objective,
    loader: Loader,
    *,
    seed: int,
    n_batches: int | None = None,
) -> Sums:
    """Run model and objective over the first ``n_batches`` of a loader (default: all)
    in evaluation mode.

    Args:
        learner: the `Learner`, wrapped by Fabric or not.
        objective: its objective.
        loader: in a fixed order.
        seed: seed of the run.
        n_batches: largest number of batches.
    """
    if loader.shuffle or loader.weights is not None:
        raise ConfigError(
            "Predictions need a loader with shuffle=False and no weights, so that each "
            "row comes once."
        )
    n_batches = n_batches or len(loader)
    n = min(loader.n_records, n_batches * loader.batch_size * loader.world_size)
    logits: Tensor | None = None
    scalars = torch.zeros((), device=loader.device)
    metric_names: list[str] = []
    was_training = learner.training
    learner.eval()
    try:
        with contextlib.closing(loader.epoch(0)) as batches:
            for number, batch in enumerate(islice(batches, n_batches)):
                views = objective.views(batch, seed=seed, step=0, train=False)
                loss = compute_loss(learner, objective, views)
                scalars = scalars + loss.scalars() * batch.n_local
                metric_names = sorted(loss.metrics)
                if loss.outputs is None:
                    continue
                if logits is None:
                    shape = (n, *loss.outputs.shape[1:])
                    logits = torch.zeros(shape, device=loader.device)
                start = loader.part(number).start
                outputs = loss.outputs[: batch.n_local]
                logits[start : start + batch.n_local] = outputs
    finally:
        learner.train(was_training)
    return Sums(logits, scalars, metric_names, n)


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
        where a number is not defined, such as the AUROC of a class without records.
    """
    probabilities = probabilities_from_logits(logits, task)
    results = compute_metrics(targets, probabilities, tuple(classes), task)
    scores = {name: results["headline"][name] for name in ("macro_f1", "macro_auroc")}
    for name in ("f1", "auroc"):
        for row in results["per_class"]:
            scores[f"{name}_{row['class']}"] = row[name]
    return {
        name: math.nan if score is None else float(score)
        for name, score in scores.items()
    }
