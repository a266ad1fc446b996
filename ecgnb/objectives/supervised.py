"""Supervised classification: (weighted) cross entropy or binary cross entropy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.models.base import TASKS
from ecgnb.objectives.base import OBJECTIVES, Loss, Objective, ObjectiveContext
from ecgnb.objectives.class_weights import class_weights as compute_class_weights
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
class Supervised(Objective):
    """Classification of labelled recordings.

    The loss is the mean over the records of w[target] times the loss of the record. It
    is not divided by the batch's sum of weights, as ``torch.nn.CrossEntropyLoss`` does:
    that sum differs from batch to batch, and the gradient would then depend on how
    records fall into micro-batches and onto devices.

    Args:
        task: ``"multiclass"`` or ``"multilabel"``.
        class_weights: as :func:`ecgnb.objectives.class_weights.class_weights` returns
            them, or ``None`` for no weights.
        transforms: for training, random ones included; evaluation leaves those out.
            ``None`` means the default, a z-score of every lead.
        label_smoothing: share of the target that is spread evenly over the classes
            (multiclass), or moved towards 1/2 (multilabel).
        fs: samples per second of the batches, for transforms with options in seconds.

    Raises:
        ConfigError: the task is unknown, or a value is out of range.
    """

    uses_all_parameters: ClassVar[bool] = True
    class_weights: Tensor | None

    def __init__(
        self,
        task: str,
        class_weights: Tensor | Sequence[float] | None = None,
        transforms: Pipeline | None = None,
        label_smoothing: float = 0.0,
        fs: float | None = None,
    ) -> None:
        super().__init__()
        if task not in TASKS:
            raise ConfigError(
                f"There is no task {task!r}; choose {' or '.join(map(repr, TASKS))}."
            )
        if not 0 <= label_smoothing < 1:
            raise ConfigError(
                f"label_smoothing is {label_smoothing!r}; it must be at least 0 and "
                "below 1."
            )
        if class_weights is not None:
            class_weights = torch.as_tensor(class_weights, dtype=torch.float32)
            _check_weights(task, class_weights)
        self.task = task
        # Not in checkpoints: the weights follow from the training split.
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.transforms = build_pipeline() if transforms is None else transforms
        self.eval_transforms = self.transforms.deterministic()
        self.label_smoothing = float(label_smoothing)
        self.fs = fs

    @classmethod
    def build(cls, context: ObjectiveContext, **options: Any) -> Supervised:
        """Return the objective of a run, with class weights of its training split."""
        class_weights = compute_class_weights(
            context.targets,
            len(context.classes),
            context.task,
            context.config.class_weights,
        )
        return cls(
            context.task,
            class_weights,
            context.transforms,
            label_smoothing=context.config.label_smoothing,
            fs=context.fs,
        )

    def views(
        self, batch: Batch, *, seed: int = 0, step: int = 0, train: bool = True
    ) -> SupervisedViews:
        """Return the transformed signals and the targets."""
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

    def loss(self, model: nn.Module, views: SupervisedViews) -> Loss:
        """Return the mean over the records of their weighted losses, and the logits."""
        logits = model(views.signal)
        return Loss(self.record_losses(logits, views.target).mean(), logits)

    def record_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the weighted loss of each record, ``[B]``, in float32 or wider."""
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        weights = self.class_weights
        if weights is not None:
            weights = weights.to(logits)
        smoothing = self.label_smoothing
        if self.task == "multiclass":
            losses = F.cross_entropy(
                logits, target, reduction="none", label_smoothing=smoothing
            )
            if weights is not None:
                losses = losses * weights[target]
            return losses
        target = target.to(logits.dtype)
        smooth = target * (1 - smoothing) + smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
        if weights is not None:
            absent, present = weights
            losses = losses * (absent * (1 - target) + present * target)
        return losses.mean(-1)


def _check_weights(task: str, weights: Tensor) -> None:
    shape = "[n_classes]"
    fits = weights.ndim == 1
    if task == "multilabel":
        shape = "[2, n_classes]"
        fits = weights.ndim == 2 and len(weights) == 2
    if not (fits and weights.isfinite().all() and weights.ge(0).all()):
        raise ConfigError(
            f"Class weights of a {task} task are {shape} finite numbers, none below 0; "
            f"these are {weights.tolist()}."
        )
