"""Architectures under one interface."""

from ecgnb.models import ecg_fm, resnet1d, xresnet1d
from ecgnb.models.base import (
    MODELS,
    TASKS,
    Backbone,
    StagedBackbone,
    Words,
    build_model,
    options_of,
)
from ecgnb.models.summary import model_summary

__all__ = [
    "MODELS",
    "TASKS",
    "Backbone",
    "StagedBackbone",
    "Words",
    "build_model",
    "ecg_fm",
    "model_summary",
    "options_of",
    "resnet1d",
    "xresnet1d",
]
