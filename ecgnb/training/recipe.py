"""What is trained: the architecture, and what happens to the signals before they reach it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    """The architecture.

    Attributes:
        model: name in the model registry.
        model_options: options of that architecture, such as ``{"widths": [16, 32]}``.
    """

    model: str = "resnet1d"
    model_options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TransformConfig:
    """What happens to a signal between the store and the model.

    Attributes:
        transforms: deterministic steps for training and inference, each a name or ``{"name": ..., option: ...}``.
        augment: random steps after them, training only.
    """

    transforms: tuple[Any, ...] = ("zscore",)
    augment: tuple[Any, ...] = ()
