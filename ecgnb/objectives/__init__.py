"""What a training optimises."""

from ecgnb.core.registry import import_submodules
from ecgnb.objectives.base import OBJECTIVES, Objective
from ecgnb.objectives.class_weights import SCHEMES, class_weights
from ecgnb.objectives.supervised import Supervised, SupervisedViews

__all__ = [
    "OBJECTIVES",
    "SCHEMES",
    "Objective",
    "Supervised",
    "SupervisedViews",
    "class_weights",
]

import_submodules(__name__)
