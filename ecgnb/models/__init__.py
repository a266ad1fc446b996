"""Architectures under one interface."""

from ecgnb.core.registry import import_submodules
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
    "model_summary",
    "options_of",
]

import_submodules(__name__)
