"""Objective: base class of what a training minimises, and the registry of objectives.

A training loop needs two functions of an objective, ``views`` (augmentation, crops,
masks) and ``loss``. An objective may own modules, which are trained, saved and resumed
with the model, and it may keep moving averages and queues up to date through its hooks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.core.registry import Registry, did_you_mean

if TYPE_CHECKING:
    from ecgnb.data.loading.loaders import Batch
    from ecgnb.transforms.pipeline import Pipeline

OBJECTIVES: Registry[type[Objective]] = Registry("objective")


@dataclass(frozen=True)
class ObjectiveContext:
    """What an objective may be built from.

    Attributes:
        model: the model with its initial weights, on the CPU. An objective may copy it
            (a teacher) but not keep it: ``loss`` receives the one that is trained.
        task: ``"multiclass"`` or ``"multilabel"``.
        classes: names of the classes.
        targets: of the training split, int64 ``[n]`` or float32 ``[n, n_classes]``.
        transforms: transforms and augmentations of the run.
        fs: samples per second.
        config: how the model is trained, a `TrainConfig`.
        seed: of the run; the weights of the objective's modules are drawn from it.
    """

    model: nn.Module
    task: str
    classes: tuple[str, ...]
    targets: np.ndarray
    transforms: Pipeline
    fs: float
    config: Any  # its class is in `training`, a layer above
    seed: int


class Loss(NamedTuple):
    """What an objective computes for a batch.

    Attributes:
        value: scalar, the mean over the records of the batch of their losses.
        outputs: logits ``[B, n_classes]`` where there are any; validation computes
            AUROC and F1 from them, and without them only the loss.
        metrics: further scalars by name, means over the records; the history has their
            means over an epoch, as ``train_<name>`` and ``valid_<name>``.
    """

    value: Tensor
    outputs: Tensor | None = None
    metrics: Mapping[str, Tensor] = {}

    def scalars(self) -> Tensor:
        """Return value and metrics, by name, as float32 ``[1 + n_metrics]`` without
        graph.
        """
        scalars = [self.value.detach().float()]
        for name in sorted(self.metrics):
            scalars.append(self.metrics[name].detach().float())
        return torch.stack(scalars)


class Objective(nn.Module):
    """Base class of objectives.

    Parameters of its submodules are trained together with the model's, tensors that it
    updates itself are buffers: both are in the checkpoints. Randomness belongs in
    ``views``, a pure function of (seed, step, record), or in modules such as dropout,
    which the loop seeds before each batch, so that a resumed training repeats it.

    The constructor takes an `ObjectiveContext`, and options (``OBJECTIVE_OPTIONS``) as
    keyword-only parameters. A class with another constructor overrides ``build``.
    """

    #: Whether the loss depends on every parameter that is trained. Several processes
    #: search for unused parameters in each step otherwise, which takes some time.
    uses_all_parameters: ClassVar[bool] = False

    @classmethod
    def build(cls, context: ObjectiveContext, **options: Any) -> Objective:
        """Return the objective of a run."""
        return cls(context, **options)

    def views(
        self, batch: Batch, *, seed: int = 0, step: int = 0, train: bool = True
    ) -> Any:
        """Return what ``loss`` needs of the batch, such as transformed signals.

        Args:
            batch: signals with targets, masks and store rows, on the model's device.
            seed: seed of the run.
            step: number of the optimizer step.
            train: whether to augment; without it nothing may depend on ``step``.
        """
        raise NotImplementedError

    def loss(self, model: nn.Module, views: Any) -> Loss:
        """Return the loss of a batch. Any method of ``model`` may be called."""
        raise NotImplementedError

    def on_train_start(self, model: nn.Module) -> None:
        """Hook before the first step, not called again after a resume."""

    def on_step_end(self, model: nn.Module, step: int, total_steps: int) -> None:
        """Hook after each optimizer step; ``step`` counts from 1."""

    def on_epoch_end(self, model: nn.Module, epoch: int) -> None:
        """Hook after the validation of an epoch; ``epoch`` counts from 1."""


def build_objective(
    name: str, options: Mapping[str, Any], context: ObjectiveContext
) -> Objective:
    """Build a registered objective; its weights are drawn from ``context.seed``.

    Raises:
        ConfigError: the name or an option is unknown, or a value is refused.
    """
    kind = check_options(name, options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed)
        try:
            objective = kind.build(context, **options)
        except TypeError as error:
            raise ConfigError(
                f"The objective {name!r} cannot be built with the options "
                f"{dict(options)!r}: {error}."
            ) from error
    # They would be twice in the optimizer and in the checkpoints.
    shared = set(objective.parameters()) & set(context.model.parameters())
    if shared:
        raise ConfigError(
            f"{kind.__name__} keeps {len(shared)} parameters of the model as its own. "
            "Use the model that loss() receives, or keep a copy.deepcopy of it."
        )
    return objective


def check_options(name: str, options: Mapping[str, Any]) -> type[Objective]:
    """Return a registered objective after a check of the names of its options.

    Raises:
        ConfigError: there is no such objective, or it has no such option.
    """
    kind = OBJECTIVES.get(name)
    known = inspect.getfullargspec(kind).kwonlyargs
    for option in options:
        if option not in known:
            raise ConfigError(
                f"OBJECTIVE_OPTIONS: the objective {name!r} has no option {option!r}."
                f"{did_you_mean(option, known)} It has: {', '.join(known) or 'none'}."
            )
    return kind


class Learner(nn.Module):
    """Model and objective as one module, for Fabric and DDP to wrap.

    Called with a function of the model that returns a `Loss`. Wrapping both at once is
    what lets an objective call any method of the model and own trained modules, while
    DDP still sees a single forward pass.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, compute_loss: Callable[[nn.Module], Loss]) -> Loss:
        """Return the loss; outputs and metrics are detached from its graph."""
        loss = compute_loss(self.model)
        if not isinstance(loss, Loss):
            raise ConfigError(
                f"{type(self.objective).__name__}.loss returned a "
                f"{type(loss).__name__}. Return ecgnb.objectives.Loss(value)."
            )
        # DDP waits for gradients of everything that a returned graph contains.
        outputs = None if loss.outputs is None else loss.outputs.detach()
        metrics = {}
        for name, value in loss.metrics.items():
            metrics[name] = torch.as_tensor(value, device=loss.value.device).detach()
        return Loss(loss.value, outputs, metrics)


def compute_loss(learner: Any, objective: Objective, views: Any) -> Loss:
    """Return the loss of a batch from a `Learner`, wrapped by Fabric or not."""
    # Passed in a function, the views may be anything: Fabric converts the tensors of
    # direct arguments and refuses some classes.
    return learner(lambda model: objective.loss(model, views))
