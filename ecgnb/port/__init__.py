"""Keras files -> PyTorch, without Keras or TensorFlow, with the proof that nothing was lost."""

from ecgnb.port.backbone import backbone_of
from ecgnb.port.contract import KNOWN_CONTRACTS, Contract
from ecgnb.port.ported import PortedModel, port_keras

__all__ = ["KNOWN_CONTRACTS", "Contract", "PortedModel", "backbone_of", "port_keras"]
