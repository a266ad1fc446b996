"""Transforms of signals, batched, on numpy arrays or torch tensors."""

from ecgnb.transforms import augment, preprocess
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
    "augment",
    "build_pipeline",
    "build_transform",
    "preprocess",
]
