"""Keras files -> PyTorch, without Keras or TensorFlow, with the proof that nothing was lost."""

from ecgnb.port.ported import PortedModel, port_keras

__all__ = ["PortedModel", "port_keras"]
