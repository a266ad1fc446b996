"""Objectives: what a training minimises.

A module of this package that registers a class in `OBJECTIVES` needs no other change.
"""

from ecgnb.core.registry import import_submodules
from ecgnb.objectives.base import (
    OBJECTIVES,
    Loss,
    Objective,
    ObjectiveContext,
    build_objective,
    check_options,
)
from ecgnb.objectives.class_weights import SCHEMES, class_weights
from ecgnb.objectives.supervised import Supervised, SupervisedViews

__all__ = [
    "OBJECTIVES",
    "SCHEMES",
    "Loss",
    "Objective",
    "ObjectiveContext",
    "Supervised",
    "SupervisedViews",
    "build_objective",
    "check_options",
    "class_weights",
]

import_submodules(__name__)
