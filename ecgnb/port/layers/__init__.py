"""What is known of each class of Keras layers, a family a file."""

from ecgnb.port.layers import (
    activation,
    advanced_activation,
    attention,
    convolution,
    dense,
    merge,
    normalisation,
    operations,
    pooling,
    preprocessing,
    recurrent,
    regularisation,
    shape,
    shape_operations,
    wrappers,
)
from ecgnb.port.layers.base import LAYERS, LayerRule, rule_of, variables_of

__all__ = [
    "LAYERS",
    "LayerRule",
    "activation",
    "advanced_activation",
    "attention",
    "convolution",
    "dense",
    "embedding",
    "merge",
    "normalisation",
    "operations",
    "pooling",
    "preprocessing",
    "recurrent",
    "regularisation",
    "rule_of",
    "shape",
    "shape_operations",
    "variables_of",
    "wrappers",
]
