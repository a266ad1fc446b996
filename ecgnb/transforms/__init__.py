"""Transforms of signals: batched preprocessing and augmentation, numpy or torch."""

from ecgnb.core.registry import import_submodules
from ecgnb.transforms.pipeline import (
    DEFAULT_TRANSFORMS,
    TRANSFORMS,
    Pipeline,
    Transform,
    build_pipeline,
    build_transform,
)

__all__ = [
    "DEFAULT_TRANSFORMS",
    "TRANSFORMS",
    "Pipeline",
    "Transform",
    "build_pipeline",
    "build_transform",
]

import_submodules(__name__)
