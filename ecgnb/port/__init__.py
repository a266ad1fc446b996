"""Port of Keras files to PyTorch, without Keras or TensorFlow, and its verification."""

from ecgnb.port.backbone import backbone_of
from ecgnb.port.contract import KNOWN_CONTRACTS, Contract
from ecgnb.port.convert import convert
from ecgnb.port.inspection.inspect_keras import dump_weights, inspect_keras
from ecgnb.port.port_folder import load_port, save_port
from ecgnb.port.ported import PortedModel, port_keras
from ecgnb.port.proof.compare import compare
from ecgnb.port.proof.reference import Reference
from ecgnb.port.source.source import source_code

__all__ = [
    "KNOWN_CONTRACTS",
    "Contract",
    "PortedModel",
    "Reference",
    "backbone_of",
    "compare",
    "convert",
    "dump_weights",
    "inspect_keras",
    "load_port",
    "port_keras",
    "save_port",
    "source_code",
]
