"""Rules for porting Keras layers, one family per module."""

from ecgnb.core.registry import import_submodules
from ecgnb.port.layers.base import LAYERS, LayerRule, rule_of, variables_of

__all__ = ["LAYERS", "LayerRule", "rule_of", "variables_of"]

import_submodules(__name__)
