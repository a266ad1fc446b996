"""Supervised classification: weighted cross entropy, or binary cross entropy for
several labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.models.base import TASKS
from ecgnb.objectives.base import OBJECTIVES
from ecgnb.transforms.pipeline import Pipeline, build_pipeline

if TYPE_CHECKING:
    from ecgnb.data.loading.loaders import Batch


@dataclass(frozen=True)
class SupervisedViews:
    """A transformed batch.

    Attributes:
        signal: ``[B, n_leads, n_samples]``, padding 0.
        target: int64 ``[B]`` (multiclass) or float ``[B, n_classes]`` (multilabel).
    """

    signal: Tensor
    target: Tensor


@OBJECTIVES.register("supervised")
class Supervised:
    """Learn the labels.

    The loss is the mean over the records of w[target] times the loss of the record. It
    is not divided by the batch's sum of weights, as ``torch.nn.CrossEntropyLoss`` does:
    that sum differs from batch to batch, and the gradient would then depend on how
    records fall into micro-batches and onto devices.

    Args:
        task: ``"multiclass"`` or ``"multilabel"``.
        class_weights: what :func:`ecgnb.objectives.class_weights.class_weights`
            returns, or ``None`` for no weights.
        transforms: for training, random ones included; evaluation leaves those out.
            ``None`` means the default, a z-score of every lead.
        label_smoothing: share of the target that is spread evenly over the classes
            (multiclass), or moved towards 1/2 (multilabel).
        fs: samples a second of the batches; transforms that think in seconds need it.

    Raises:
        ConfigError: the task is unknown, or a value is out of range.
    """

    def __init__(
        self,
        task: str,
        class_weights: Tensor | Sequence[float] | None = None,
        transforms: Pipeline | None = None,
        label_smoothing: float = 0.0,
        fs: float | None = None,
    ) -> None:
        if task not in TASKS:
            raise ConfigError(
                f"There is no task {task!r}; choose {' or '.join(map(repr, TASKS))}."
            )
        if not 0 <= label_smoothing < 1:
            raise ConfigError(
                f"label_smoothing must be at least 0 and below 1; it was given {label_smoothing!r}."
            )
        self.task = task
        self.class_weights = _checked_weights(task, class_weights)
        self.transforms = build_pipeline() if transforms is None else transforms
        self.eval_transforms = self.transforms.deterministic()
        self.label_smoothing = float(label_smoothing)
        self.fs = fs

    def views(
        self, batch: Batch, *, seed: int = 0, step: int = 0, train: bool = True
    ) -> SupervisedViews:
        """Return the transformed signals and the targets; see
        :class:`ecgnb.objectives.base.Objective`.
        """
        pipeline = self.transforms if train else self.eval_transforms
        signal = pipeline(
            batch.signal,
            fs=self.fs,
            mask=batch.mask,
            keys=batch.index,
            seed=seed,
            step=step,
        )
        return SupervisedViews(signal, batch.target)

    def loss(self, model: nn.Module, views: SupervisedViews) -> Tensor:
        """Return the mean over the records of each record's weighted loss."""
        return self.record_losses(model(views.signal), views.target).mean()

    def record_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the weighted loss of each record, ``[B]``, in float32 or wider; their
        mean is the loss.
        """
        logits = (
            logits.float()
            if logits.dtype in (torch.float16, torch.bfloat16)
            else logits
        )
        weights = None if self.class_weights is None else self.class_weights.to(logits)
        if self.task == "multiclass":
            losses = F.cross_entropy(
                logits, target, reduction="none", label_smoothing=self.label_smoothing
            )
            return losses if weights is None else losses * weights[target]
        target = target.to(logits.dtype)
        smooth = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
        if weights is not None:
            losses = losses * (weights[0] * (1 - target) + weights[1] * target)
        return losses.mean(-1)

    @torch.no_grad()
    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the logits ``[B, n_classes]`` of a batch without augmentation; the
        caller sets ``model.eval()``.
        """
        return model(self.views(batch, train=False).signal)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return probabilities ``[B, n_classes]``: a softmax (multiclass) or a sigmoid
        for each class (multilabel).
        """
        return logits.softmax(-1) if self.task == "multiclass" else logits.sigmoid()


def _checked_weights(
    task: str, weights: Tensor | Sequence[float] | None
) -> Tensor | None:
    if weights is None:
        return None
    weights = torch.as_tensor(weights, dtype=torch.float32)
    fits = (
        weights.ndim == 1
        if task == "multiclass"
        else weights.ndim == 2 and len(weights) == 2
    )
    if not fits or not bool(torch.isfinite(weights).all() and (weights >= 0).all()):
        shape = "[n_classes]" if task == "multiclass" else "[2, n_classes]"
        raise ConfigError(
            f"Class weights of a {task} task are {shape} finite numbers, none below 0; these are {weights.tolist()}."
        )
    return weights
