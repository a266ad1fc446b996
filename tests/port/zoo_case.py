"""What a case of the layer zoo is, and the list of them. Read by `make_zoo.py`; imports
no Keras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

#: How a model is stored: one HDF5 file, architecture and weights apart, or the zip
#: archive of Keras 2.13 and later.
CONTAINERS = ("h5", "json", "keras")


@dataclass
class Keras:
    """One of the two Keras, under the names that both have, and what a case tells about
    its data."""

    version: int
    api: ModuleType
    tf: ModuleType
    data: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def layers(self) -> Any:
        return self.api.layers

    def input(
        self, *shape: int | None, name: str = "ecg", dtype: str = "float32"
    ) -> Any:
        return self.api.Input(shape, name=name, dtype=dtype)

    def model(self, inputs: Any, outputs: Any, name: str | None = None) -> Any:
        return self.api.Model(inputs, outputs, name=name)

    def sequential(self, layers: list[Any], name: str | None = None) -> Any:
        return self.api.Sequential(layers, name=name)

    def give(self, name: str, values: Any) -> None:
        """Set what golden values are computed from; inputs that nobody sets are drawn
        at random."""
        self.data[name] = np.asarray(values)


@dataclass(frozen=True)
class Case:
    """A model to build with each of ``versions``, stored in which `containers` (see
    `make_zoo.containers_of`)."""

    name: str
    build: Callable[[Keras], Any]
    versions: tuple[int, ...]
    containers: str
    note: str


CASES: list[Case] = []


def case(
    *, versions: tuple[int, ...] = (2, 3), containers: str = "in turn", note: str = ""
) -> Callable[[Any], Any]:
    """Enter a function `Keras -> model` in the list of cases, under its own name."""

    def enter(build: Callable[[Keras], Any]) -> Callable[[Keras], Any]:
        CASES.append(Case(build.__name__, build, versions, containers, note))
        return build

    return enter
