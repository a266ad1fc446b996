"""What a training optimises."""

from ecgnb.objectives.base import OBJECTIVES, Objective
from ecgnb.objectives.supervised import Supervised, SupervisedViews
from ecgnb.objectives.weights import SCHEMES, class_weights

__all__ = ["OBJECTIVES", "SCHEMES", "Objective", "Supervised", "SupervisedViews", "class_weights"]
