"""What is known of each class of Keras layers, a family a file."""

from ecgnb.port.layers import activation, convolution, dense, merge, normalisation, pooling, shape
from ecgnb.port.layers.base import LAYERS, LayerRule, rule_of, variables_of

__all__ = [
    "LAYERS",
    "LayerRule",
    "activation",
    "convolution",
    "dense",
    "merge",
    "normalisation",
    "pooling",
    "rule_of",
    "shape",
    "variables_of",
]
