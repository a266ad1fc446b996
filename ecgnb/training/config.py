"""Configuration of training, model and transforms."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import Any, Literal

from ecgnb.core.errors import ConfigError
from ecgnb.core.parameters import check_choices

_AT_LEAST = {
    "epochs": 1,
    "batch_size_cpu": 1,
    "batch_size_gpu": 1,
    "grad_accum_steps": 1,
    "weight_decay": 0,
    "clip_norm": 0,
    "warmup_fraction": 0,
    "early_stopping_patience": 0,
    "label_smoothing": 0,
    "records_per_patient": 1,
    "window_samples": 0,
    "windows_per_record": 1,
    "devices": 1,
    "checkpoint_every_steps": 0,
}
#: Criterion of the best checkpoint where there are labels. The AUROC depends neither on
#: thresholds nor on the prior, which are chosen after the training, and is no step
#: function of a few decisions, as macro F1 is: that stays at 1 (or at any other value)
#: while the model still improves. The loss would be smoother, but it punishes
#: overconfidence, which the temperature repairs later, before the ranking stops
#: improving; so it only breaks ties of the AUROC.
_MONITOR_WITH_LABELS = "macro_auroc"
#: Fields that do not change which weights come out.
_NOT_IDENTITY = ("checkpoint_every_steps", "device", "devices", "callbacks")


@dataclass(frozen=True)
class TrainConfig:
    """Options of the training loop.

    Attributes:
        objective: name in the registry of objectives.
        objective_options: options of that objective, such as ``{"temperature": 0.1}``.
        epochs: passes over the training split.
        lr: highest learning rate.
        weight_decay: decay of AdamW; norms and biases get none.
        batch_size_cpu: records per batch and process on a CPU.
        batch_size_gpu: records per batch and process on a GPU.
        grad_accum_steps: batches whose gradients make one step; the result is that of
            one big batch.
        clip_norm: largest norm of the gradient; 0 clips nothing.
        scheduler: course of the learning rate after the warm-up.
        warmup_fraction: part of all steps during which the learning rate rises
            (``"one-cycle"`` has its own rise).
        mixed_precision: ``"auto"`` takes bfloat16 on GPUs that have it, float16 on
            others and float32 on CPUs.
        early_stopping_patience: epochs in which neither the monitored score nor the
            validation loss improves before the training ends; 0 never ends it early.
        class_weights: weights of the classes in the loss; ``"auto"`` is ``"balanced"``
            for multi-class tasks and ``"none"`` for multi-label ones, whose thresholds
            are chosen afterwards.
        sampler: ``"shuffle"`` shows every record once per epoch; ``"weighted"`` draws
            rare classes more often; ``"patient"`` shows every record once, those of one
            patient in the same batch.
        records_per_patient: largest number of records of one patient that the sampler
            ``"patient"`` keeps together.
        window_samples: length of the windows in ``batch.windows``, for objectives that
            compare parts of a record; 0 cuts none.
        windows_per_record: windows that are drawn of each record.
        monitor: criterion of the best checkpoint, on validation; of equal values the
            lower validation loss decides. ``"auto"`` is ``"macro_auroc"``, and
            ``"loss"`` without labels. An objective without logits is monitored by its
            loss.
        label_smoothing: share of the target that is spread over all classes.
        freeze: layers that keep their initial weights: ``"stem"`` is the first layers,
            ``"body"`` all but the head (a linear probe), "" nothing.
        layer_decay: factor by which the learning rate shrinks with each group of layers
            away from the head; 1 trains all alike, and fine-tuning takes 0.65 to 0.9
            (Clark et al. 2020, ELECTRA; Bao et al. 2021, BEiT).
        seed: seed of order, dropout and augmentation.
        device: ``"auto"`` takes a GPU where there is one.
        devices: processes on this machine, one per GPU.
        checkpoint_every_steps: steps between two checkpoints inside an epoch; 0 saves
            at the end of epochs only.
        callbacks: names of registered callbacks.
        dry_run: a few batches of one epoch, to check that everything fits together.

    Raises:
        ConfigError: a value is not one of the choices or out of its range.
    """

    objective: str = "supervised"
    objective_options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 50
    lr: float = 1e-3
    weight_decay: float = 0.01
    batch_size_cpu: int = 32
    batch_size_gpu: int = 128
    grad_accum_steps: int = 1
    clip_norm: float = 1.0
    scheduler: Literal["cosine", "step", "one-cycle", "none"] = "cosine"
    warmup_fraction: float = 0.05
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    early_stopping_patience: int = 10
    class_weights: Literal["auto", "balanced", "none"] = "auto"
    sampler: Literal["shuffle", "weighted", "patient"] = "shuffle"
    records_per_patient: int = 2
    window_samples: int = 0
    windows_per_record: int = 2
    monitor: Literal["auto", "macro_f1", "macro_auroc", "loss"] = "auto"
    label_smoothing: float = 0.0
    freeze: Literal["", "stem", "body"] = ""
    layer_decay: float = 1.0
    seed: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    checkpoint_every_steps: int = 0
    callbacks: tuple[str, ...] = ()
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_choices(self)
        for name, lowest in _AT_LEAST.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= lowest):
                raise ConfigError(
                    f"{name} is {value!r}; it must be a finite number of at least "
                    f"{lowest}."
                )
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(
                f"lr is {self.lr!r}; it must be greater than 0, for instance 1e-3."
            )
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(
                f"layer_decay is {self.layer_decay!r}; it must be above 0 and at most "
                "1, such as 0.75."
            )
        if not -(2**63) <= self.seed < 2**63:
            raise ConfigError(
                f"seed is {self.seed}; use a number of at most 18 digits, such as 0."
            )
        for name in ("warmup_fraction", "label_smoothing"):
            value = getattr(self, name)
            if value >= 1:
                raise ConfigError(
                    f"{name} is {value!r}; it must be less than 1, for instance 0.05."
                )

    def batch_size(self, device: str) -> int:
        """Return the records per batch on a device such as ``"cpu"`` or
        ``"cuda:0"``.
        """
        if str(device).startswith("cpu"):
            return self.batch_size_cpu
        return self.batch_size_gpu

    def for_task(self, task: str) -> TrainConfig:
        """Return the configuration with each ``"auto"`` resolved for a task; "" is a
        task without labels.
        """
        changes: dict[str, Any] = {}
        if self.class_weights == "auto":
            # Weighted sampling shows rare classes more often already; weights on top
            # would correct twice.
            balanced = task == "multiclass" and self.sampler != "weighted"
            changes["class_weights"] = "balanced" if balanced else "none"
        if self.monitor == "auto":
            changes["monitor"] = _MONITOR_WITH_LABELS if task else "loss"
        return replace(self, **changes)

    def identity(self) -> dict[str, Any]:
        """Return the values that decide which weights come out, to compare a checkpoint
        with.
        """
        values = asdict(self)
        for name in _NOT_IDENTITY:
            del values[name]
        return values


@dataclass(frozen=True)
class ModelConfig:
    """The architecture.

    Attributes:
        model: name in the model registry.
        model_options: options of that architecture, such as ``{"widths": [16, 32]}``.
        start_from: folder of a bundle or of a ported model, or checkpoint of a
            foundation model, whose architecture and weights the training begins with,
            instead of ``model`` and random weights; its classifier is kept where the
            classes are the same, and drawn anew otherwise.
    """

    model: str = "resnet1d"
    model_options: dict[str, Any] = field(default_factory=dict)
    start_from: str = ""

    @property
    def label(self) -> str:
        """Name of the model in names and reports: the architecture, or the weights that
        the training begins with.
        """
        if self.start_from:
            return f"from_{PurePath(self.start_from).name.removesuffix('.pt')}"
        return self.model


@dataclass(frozen=True)
class TransformConfig:
    """Processing of a signal between the store and the model.

    Attributes:
        transforms: deterministic steps for training and inference, each a name or
            ``{"name": ..., option: ...}``.
        augment: random steps after them, training only.
    """

    transforms: tuple[Any, ...] = ("zscore",)
    augment: tuple[Any, ...] = ()
