"""Which transforms a training applies to the stored signals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TransformConfig:
    """What happens to a signal between the store and the model.

    Attributes:
        transforms: deterministic steps for training and inference, each a name or ``{"name": ..., option: ...}``.
        augment: random steps, training only.
    """

    transforms: tuple[Any, ...] = ("zscore",)
    augment: tuple[Any, ...] = ()
