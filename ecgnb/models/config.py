"""Which model is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    """The architecture.

    Attributes:
        model: name in the model registry.
        model_options: options of that architecture, such as ``{"width": 64}``.
    """

    model: str = "resnet1d"
    model_options: dict[str, Any] = field(default_factory=dict)
