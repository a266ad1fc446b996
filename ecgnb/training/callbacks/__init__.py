"""Callbacks: observers of a training.

A module of this package that registers a class in `CALLBACKS` needs no other change.
"""

from ecgnb.core.registry import import_submodules
from ecgnb.training.callbacks.base import (
    CALLBACKS,
    Callback,
    EpochLines,
    build_callbacks,
)

__all__ = ["CALLBACKS", "Callback", "EpochLines", "build_callbacks"]

import_submodules(__name__)
