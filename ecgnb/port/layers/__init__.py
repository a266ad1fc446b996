"""What is known of each class of Keras layers, a family a file."""

from ecgnb.core.registry import import_submodules
from ecgnb.port.layers.base import LAYERS, LayerRule, rule_of, variables_of

__all__ = ["LAYERS", "LayerRule", "rule_of", "variables_of"]

import_submodules(__name__)
