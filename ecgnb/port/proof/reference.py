"""Reference values of a Keras model's layers, from a golden file or from Keras."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecgnb.core.errors import PortError
from ecgnb.port.ported import port_keras
from ecgnb.port.proof.ecg_inputs import ecg_like_inputs
from ecgnb.port.proof.oracle import run_keras
from ecgnb.port.reading.keras_file import DAMAGE, read_keras


@dataclass(frozen=True)
class Stored:
    """One layer's output in Keras' layout ``[B, T, C]``, whole or at some time steps.

    Attributes:
        values: ``[B, T, C]``, or ``[B, len(steps), C]``.
        steps: the time steps that were kept; ``None`` when all were.
        shape: of the whole output.
        mean: over the whole output.
        scale: largest absolute value of the whole output.
    """

    values: np.ndarray
    steps: np.ndarray | None
    shape: tuple[int, ...]
    mean: float
    scale: float

    def at_steps(self, values: np.ndarray) -> np.ndarray:
        """Return the kept time steps of a whole output."""
        return values if self.steps is None else values[:, self.steps]

    def gaps(self, values: np.ndarray) -> np.ndarray:
        """Return |values - stored| of a whole output at the kept time steps."""
        return np.abs(self.at_steps(values) - self.values)

    @classmethod
    def whole(cls, values: np.ndarray) -> Stored:
        """Keep an output with all its time steps."""
        numbers = values.astype(np.float64)  # a mean in float32 has few digits
        mean = float(numbers.mean()) if values.size else 0.0
        scale = float(np.abs(numbers).max(initial=0.0))
        return cls(values, None, values.shape, mean, scale)


@dataclass(frozen=True)
class Reference:
    """Inputs of a Keras model and everything it computes from them at inference.

    Attributes:
        inputs: by name, in Keras' order and layout.
        outputs: of the model.
        layers: by label, in call order: the layer's name, with ``@1`` for its second
            call and ``nested/`` before a nested model's.
        gradients: for each floating input, the gradient that ``about`` defines, in the
            input's layout.
        about: definition of the gradients, in words. Empty: of the sum over the batch
            of channel 0 of the input of a last Softmax layer, or of output 0 where
            there is none.
        source: origin of the values, for messages.
    """

    inputs: dict[str, np.ndarray]
    outputs: list[np.ndarray]
    layers: dict[str, Stored]
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    about: str = ""
    source: str = "arrays"

    @property
    def before_sigmoid(self) -> bool:
        """Whether gradients are of the input of a last sigmoid layer, too, and not only
        of a Softmax.
        """
        return "sigmoid" in self.about

    @classmethod
    def from_keras(
        cls,
        model: str | Path | Any,
        inputs: Mapping[str, np.ndarray] | None = None,
        *,
        weights: str | Path | None = None,
        python: str | Path | None = None,
        seed: int = 0,
    ) -> Reference:
        """Run a model in Keras, in another process: this one never imports Keras or
        TensorFlow.

        Args:
            model: a Keras file, or a Keras model, which is saved first.
            inputs: arrays by input name in Keras' layout; left out, `ecg_like_inputs`
                makes four samples.
            weights: the weights that belong to a ``model.json``.
            python: an interpreter that has Keras 3 (or tf_keras for files of Keras 2);
                left out, the environment variable ``ECGNB_KERAS_PYTHON``, then this
                one.
            seed: of the inputs that `ecg_like_inputs` makes.

        Raises:
            PortError: the model cannot be ported, Keras is not installed, or Keras
                cannot load or run the model.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = model
            if hasattr(model, "save"):
                path = Path(folder) / "model.keras"
                model.save(path)
            file = read_keras(path, weights)
            # Also refuses code in the file, which Keras 2 would execute.
            port = port_keras(path, weights=weights)
            if inputs is None:
                inputs = ecg_like_inputs(port, seed)
            golden, source = run_keras(file, inputs, Path(folder), python)
            return _parse(_load(golden), source)


def read_reference(path: str | Path) -> Reference:
    """Read a golden file.

    Args:
        path: an ``.npz`` with ``in/<input>``, ``out/<i>``, ``layer/<label>`` and, where
            kept, ``steps/<label>``, ``shape/<label>``, ``mean/<label>`` = [mean,
            max|.|], ``grad0/<input>`` and ``about``. Nothing in it is unpickled.

    Raises:
        PortError: the file is missing, damaged, or not a golden file.
    """
    return _parse(_load(Path(path)), str(path))


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise PortError(
            f"There is no reference file {path}. Give a golden .npz, or use "
            "Reference.from_keras."
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (*DAMAGE, struct.error) as error:
        raise PortError(
            f"The reference {path} is truncated, damaged or no .npz of plain arrays "
            f"({type(error).__name__}: {error}). Copy it again, or make it anew with "
            "Reference.from_keras."
        ) from error


def _parse(arrays: dict[str, np.ndarray], source: str) -> Reference:
    inputs, outputs = _in_group(arrays, "in"), _in_group(arrays, "out")
    missing = []
    if not inputs:
        missing.append("in/<input>")
    if not outputs:
        missing.append("out/<i>")
    numbers = list(map(str, range(len(outputs))))
    if missing or set(outputs) != set(numbers):
        raise PortError(
            f"The reference {source} is not a golden file: it lacks "
            f"{' and '.join(missing) or 'some outputs'} (it holds "
            f"{', '.join(list(arrays)[:5]) or 'nothing'}). Make it anew with "
            "Reference.from_keras."
        )
    layers = {}
    for label in _in_group(arrays, "layer"):
        layers[label] = _stored(arrays, label, source)
    return Reference(
        inputs=inputs,
        outputs=[outputs[number] for number in numbers],
        layers=layers,
        gradients=_in_group(arrays, "grad0"),
        about=" ".join(map(str, arrays.get("about", []))),
        source=source,
    )


def _in_group(arrays: dict[str, np.ndarray], group: str) -> dict[str, np.ndarray]:
    prefix = f"{group}/"
    members = {}
    for key, array in arrays.items():
        if key.startswith(prefix):
            members[key.removeprefix(prefix)] = array
    return members


def _stored(arrays: dict[str, np.ndarray], label: str, source: str) -> Stored:
    values = arrays[f"layer/{label}"]
    if f"steps/{label}" not in arrays:
        return Stored.whole(values)
    steps = arrays[f"steps/{label}"]
    shape = arrays.get(f"shape/{label}")
    summary = arrays.get(f"mean/{label}")  # [mean, max|.|]
    fits = values.ndim >= 2 and values.shape[1] == len(steps)  # [B, steps, ...]
    if shape is None or summary is None or not fits:
        raise PortError(
            f"The reference {source} keeps {label!r} at some time steps only, but its "
            "shape/, mean/ or steps/ are missing or do not fit. Make the file anew "
            "with Reference.from_keras."
        )
    mean, scale = float(summary[0]), float(summary[1])
    return Stored(values, steps, tuple(map(int, shape)), mean, scale)
