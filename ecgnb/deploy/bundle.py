"""`Bundle`: a model with everything that inference needs.

`ecgnb.deploy.bundle_folder` writes it as a folder and reads it back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ecgnb.core.errors import ConfigError
from ecgnb.data.config import PrepareConfig
from ecgnb.evaluation.arrays import check_task
from ecgnb.models.base import Backbone
from ecgnb.models.lowering import precision_of
from ecgnb.transforms.pipeline import Pipeline

#: Lowest and highest temperature: beyond, all probabilities are 0 and 1, or alike.
TEMPERATURES = (1e-3, 1e3)
#: Rules by which the probabilities of a recording's windows become one.
RULES = ("mean", "max")


@dataclass(frozen=True)
class Bundle:
    """A trained model with everything that its predictions need.

    Attributes:
        model: the network, in evaluation mode; ``[batch, n_leads, n_samples]`` gives
            logits ``[batch, n_classes]``.
        classes: class names in the order of the outputs; empty for a pretrained model
            without a classifier.
        task: "multiclass" or "multilabel".
        prepare: how a recording becomes the model's input (rate in Hz, samples, leads
            in order, crop).
        transforms: deterministic steps after that.
        thresholds: for multilabel, the probability from which each class is predicted;
            else empty.
        temperature: divisor of the logits, fitted on validation.
        logit_offset: for each class, what is added to its logit before that: the prior
            correction of a model that was trained with balanced classes; empty adds
            nothing.
        aggregate: for each class, how the probabilities of a recording's windows are
            joined, "mean" or "max"; a recording is then cut into windows of
            ``prepare.target_samples`` from its start. Empty: it is one crop.
        metrics: headline metrics on the test split, with intervals.
        provenance: data set, run, configuration, versions.
    """

    model: Backbone
    classes: tuple[str, ...]
    task: str
    prepare: PrepareConfig
    transforms: Pipeline
    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0
    logit_offset: tuple[float, ...] = ()
    aggregate: tuple[str, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names, n_outputs = list(self.classes), self.model.n_classes
        if names and (len(set(names)) != len(names) or len(names) != n_outputs):
            raise ConfigError(
                f"The model has {n_outputs} outputs; the classes {names} must name "
                "each once."
            )
        if not all(isinstance(name, str) and name for name in names):
            raise ConfigError(f"The classes are {names}; give a name for each output.")
        self._check_model()
        lowest, highest = TEMPERATURES
        if not (_is_number(self.temperature) and lowest <= self.temperature <= highest):
            raise ConfigError(
                f"temperature is {self.temperature!r}; give a number from {lowest:g} "
                f"to {highest:g}."
            )
        finite = [_is_number(value) and abs(value) < 1e6 for value in self.logit_offset]
        if self.logit_offset and (len(finite) != n_outputs or not all(finite)):
            raise ConfigError(
                f"logit_offset is {list(self.logit_offset)}; give a finite number for "
                f"each of the {n_outputs} outputs, or none."
            )
        if names and self.thresholds:
            self._check_thresholds()
        if self.aggregate and len(self.aggregate) != len(names):
            raise ConfigError(
                f"aggregate has {len(self.aggregate)} rules for {len(names)} classes; "
                "give one for each class, or none."
            )
        if not set(self.aggregate) <= set(RULES):
            raise ConfigError(
                f"aggregate is {list(self.aggregate)}; the rules are "
                f"{', '.join(RULES)}."
            )

    def _check_model(self) -> None:
        """Refuse a task or a preparation that is not the model's."""
        model, prepare = self.model, self.prepare
        if self.classes:
            check_task(self.task)
        pairs = {
            "task": (self.task, model.task if self.classes else self.task),
            "target_fs": (prepare.target_fs, model.fs),
            "number of leads": (len(prepare.leads) or model.n_leads, model.n_leads),
        }
        if not model.any_length:
            pairs["target_samples"] = (prepare.target_samples, model.n_samples)
        for name, (value, expected) in pairs.items():
            if value != expected:
                raise ConfigError(
                    f"The bundle's {name} is {value!r}, but its model was built for "
                    f"{expected!r}. Give that; if the bundle was loaded, its files "
                    "were changed: copy it again."
                )

    def _check_thresholds(self) -> None:
        valid = [_is_number(value) and 0 <= value <= 1 for value in self.thresholds]
        if len(valid) != len(self.classes) or not all(valid):
            raise ConfigError(
                f"thresholds are {list(self.thresholds)}; give a probability for each "
                f"of {list(self.classes)}, or none."
            )

    @property
    def windowed(self) -> bool:
        """Whether the model sees all of a recording, in windows.

        A model without classes has no probabilities to join, only embeddings.
        """
        return bool(self.aggregate) or not self.classes

    @property
    def precision(self) -> str:
        """Precision of the encoder; see `ecgnb.models.lowering.to_precision`."""
        return precision_of(self.model)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
