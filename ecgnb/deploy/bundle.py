"""`Bundle`: everything that inference needs; `ecgnb.deploy.bundle_folder` writes it as
a folder and reads it back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ecgnb.core.errors import ConfigError
from ecgnb.data.config import PrepareConfig
from ecgnb.models.base import Backbone
from ecgnb.models.lowering import precision_of
from ecgnb.transforms.pipeline import Pipeline

#: How the probabilities of windows become one.
RULES = ("mean", "max")


@dataclass(frozen=True)
class Bundle:
    """A trained model with all that its predictions need.

    Attributes:
        model: the network, in evaluation mode; ``[batch, n_leads, n_samples]`` gives
            logits ``[batch, n_classes]``.
        classes: class names in the order of the outputs.
        task: "multiclass" or "multilabel".
        prepare: how a recording becomes the model's input (rate in Hz, samples, leads
            in order, crop).
        transforms: deterministic steps after that.
        thresholds: for multilabel, the probability from which a class is called, one a
            class; else empty.
        temperature: divisor of the logits, fitted on validation.
        aggregate: how the probabilities of a recording's windows become its own, "mean"
            or "max", one a class; a recording is then cut into windows of
            ``prepare.target_samples`` from its start. Empty: it is one crop.
        metrics: headline numbers on the test split, with intervals.
        provenance: data set, run, configuration, versions.
    """

    model: Backbone
    classes: tuple[str, ...]
    task: str
    prepare: PrepareConfig
    transforms: Pipeline
    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0
    aggregate: tuple[str, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names, temperature, told = (
            list(self.classes),
            self.temperature,
            list(self.thresholds),
        )
        if names and (
            len(set(names)) != len(names) or len(names) != self.model.n_classes
        ):
            raise ConfigError(
                f"The model has {self.model.n_classes} outputs; the classes {names} must name each once."
            )
        if (
            isinstance(temperature, bool)
            or not isinstance(temperature, int | float)
            or not temperature > 0
        ):
            raise ConfigError(f"temperature is {temperature!r}; give a number above 0.")
        if (
            names
            and told
            and (len(told) != len(names) or not all(map(_is_share, told)))
        ):
            raise ConfigError(
                f"thresholds are {told}; give a probability for each of {names}, or none."
            )
        if self.aggregate and len(self.aggregate) != len(self.classes):
            raise ConfigError(
                f"aggregate has {len(self.aggregate)} rules for {len(self.classes)} classes; give one a class, or none."
            )
        if not set(self.aggregate) <= set(RULES):
            raise ConfigError(
                f"aggregate is {list(self.aggregate)}; each class takes one of {', '.join(RULES)}."
            )

    @property
    def windowed(self) -> bool:
        """Whether the model sees all of a recording, in windows; without classes there
        is nothing to join them to.
        """
        return bool(self.aggregate) or not self.classes

    @property
    def precision(self) -> str:
        """The precision of the model's encoder; see
        `ecgnb.models.lowering.to_precision`.
        """
        return precision_of(self.model)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1
