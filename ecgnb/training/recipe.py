"""What is trained: the architecture, and what happens to the signals before they reach it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    """The architecture.

    Attributes:
        model: name in the model registry.
        model_options: options of that architecture, such as ``{"widths": [16, 32]}``.
        start_from: folder of a bundle or of a ported model, or checkpoint of a foundation model, whose architecture and
            weights the training begins with, in place of both; its classifier is kept where the classes are the same,
            and drawn anew otherwise.
    """

    model: str = "resnet1d"
    model_options: dict[str, Any] = field(default_factory=dict)
    start_from: str = ""

    @property
    def label(self) -> str:
        """What the model is called in names and reports: the architecture, or what the training begins with."""
        return f"from_{PurePath(self.start_from).name.removesuffix('.pt')}" if self.start_from else self.model


@dataclass(frozen=True)
class TransformConfig:
    """What happens to a signal between the store and the model.

    Attributes:
        transforms: deterministic steps for training and inference, each a name or ``{"name": ..., option: ...}``.
        augment: random steps after them, training only.
    """

    transforms: tuple[Any, ...] = ("zscore",)
    augment: tuple[Any, ...] = ()
