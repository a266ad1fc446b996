"""`Reference`: what a Keras model really computes, layer by layer: from a golden file,
or from Keras itself.
"""

from __future__ import annotations

import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecgnb.core.errors import PortError
from ecgnb.core.files import atomic_write
from ecgnb.port.ported import major, port_keras
from ecgnb.port.proof.ecg_inputs import ecg_like_inputs
from ecgnb.port.proof.oracle import run_keras
from ecgnb.port.reading.keras_file import read_keras

#: What numpy and zipfile raise at a damaged archive.
DAMAGE = (
    OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, RuntimeError, ArithmeticError, MemoryError,
    SyntaxError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


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

    @classmethod
    def whole(cls, values: np.ndarray) -> Stored:
        """Keep an output with all its time steps."""
        numbers = values.astype(np.float64)
        scale = float(np.abs(numbers).max()) if numbers.size else 0.0
        return cls(
            values,
            None,
            values.shape,
            float(numbers.mean()) if numbers.size else 0.0,
            scale,
        )


@dataclass(frozen=True)
class Reference:
    """Inputs of a Keras model and all that it made of them at inference.

    Attributes:
        inputs: by name, in Keras' order and layout.
        outputs: of the model.
        layers: by label: the layer's name, with ``@1`` for its second call and
            ``nested/`` before a nested model's.
        gradients: for each floating input, the gradient that ``about`` defines, in the
            input's layout.
        order: labels as called; also of layers that were not kept.
        about: how gradients are defined, in words; empty in files of the plain kind,
            which differentiate the sum over the batch of channel 0 of what enters a
            last Softmax layer, or of output 0 where there is none.
        source: where all this is from.
    """

    inputs: dict[str, np.ndarray]
    outputs: list[np.ndarray]
    layers: dict[str, Stored]
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    about: str = ""
    source: str = "arrays"

    @property
    def before_sigmoid(self) -> bool:
        """Whether gradients are of what enters a last sigmoid layer, too, and not only
        a Softmax.
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
        """Run a model in Keras, in a process of its own: this one never imports Keras
        or TensorFlow.

        Args:
            model: a Keras file, or a Keras model, which is saved first.
            inputs: arrays by input name in Keras' layout; left out, `ecg_like_inputs`
                makes four samples.
            weights: the weights that belong to a ``model.json``.
            python: an interpreter that has Keras 3 (or tf_keras for files of Keras 2);
                left out, the environment variable ``ECGNB_KERAS_PYTHON``, then this
                one.
            seed: of the inputs that are made.

        Raises:
            PortError: the model cannot be ported, no Keras is there, or Keras cannot
                load or run the model.
        """
        with tempfile.TemporaryDirectory() as folder:
            if hasattr(model, "save"):
                path = Path(folder) / "model.keras"
                model.save(path)
            else:
                path = Path(model)
            file = read_keras(path, weights)
            port = port_keras(
                path, weights=weights
            )  # also refuses code in the file, which Keras 2 would execute
            inputs = ecg_like_inputs(port, seed) if inputs is None else inputs
            golden, told = run_keras(
                file.path,
                file.weights_path,
                major(file.keras_version),
                dict(inputs),
                Path(folder),
                python,
            )
            return _parse(_load(golden), told)


def read_reference(path: str | Path) -> Reference:
    """Read a golden file.

    Args:
        path: an ``.npz`` with ``in/<input>``, ``out/<i>``, ``layer/<label>`` and, where
            kept, ``order``, ``steps/<label>``, ``shape/<label>``, ``mean/<label>`` =
            [mean, max|.|], ``grad0/<input>`` and ``about``. Nothing in it is unpickled.

    Raises:
        PortError: the file is missing, damaged, or not a golden file.
    """
    return _parse(_load(Path(path)), str(path))


def write_reference(path: str | Path, reference: Reference) -> None:
    """Write a golden file, whole or not at all; `read_reference` tells its keys."""
    arrays: dict[str, np.ndarray] = {
        f"in/{name}": values for name, values in reference.inputs.items()
    }
    arrays |= {f"out/{place}": values for place, values in enumerate(reference.outputs)}
    arrays |= {f"grad0/{name}": values for name, values in reference.gradients.items()}
    for label, stored in reference.layers.items():
        arrays[f"layer/{label}"] = stored.values
        arrays[f"shape/{label}"] = np.array(stored.shape)
        arrays[f"mean/{label}"] = np.array([stored.mean, stored.scale])
        if stored.steps is not None:
            arrays[f"steps/{label}"] = stored.steps
    arrays["order"] = np.array(reference.order or list(reference.layers), dtype=np.str_)
    if reference.about:
        arrays["about"] = np.array([reference.about])
    with atomic_write(Path(path)) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise PortError(
            f"There is no reference file {path}. Give a golden .npz, or use Reference.from_keras."
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except DAMAGE as error:
        raise PortError(
            f"The reference {path} is truncated, damaged or no .npz of plain arrays ({type(error).__name__}: {error}). "
            "Copy it again, or make it anew with Reference.from_keras."
        ) from error


def _parse(arrays: dict[str, np.ndarray], source: str) -> Reference:
    inputs, outputs = _below(arrays, "in"), _below(arrays, "out")
    missing = [
        name
        for name, found in (("in/<input>", inputs), ("out/<i>", outputs))
        if not found
    ]
    if missing or sorted(outputs) != sorted(map(str, range(len(outputs)))):
        raise PortError(
            f"The reference {source} is not a golden file: it lacks {' and '.join(missing) or 'some outputs'} "
            f"(it holds {', '.join(list(arrays)[:5]) or 'nothing'}). Make it anew with Reference.from_keras."
        )
    layers = {
        label: _stored(arrays, label, source) for label in _below(arrays, "layer")
    }
    return Reference(
        inputs,
        [outputs[str(place)] for place in range(len(outputs))],
        layers,
        _below(arrays, "grad0"),
        tuple(map(str, arrays.get("order", np.array(list(layers), dtype=np.str_)))),
        " ".join(map(str, arrays.get("about", np.array([], dtype=np.str_)))),
        source,
    )


def _below(arrays: dict[str, np.ndarray], group: str) -> dict[str, np.ndarray]:
    return {
        key[len(group) + 1 :]: values
        for key, values in arrays.items()
        if key.startswith(f"{group}/")
    }


def _stored(arrays: dict[str, np.ndarray], label: str, source: str) -> Stored:
    values, steps = arrays[f"layer/{label}"], arrays.get(f"steps/{label}")
    if steps is None:
        return Stored.whole(values)
    shape, summary = arrays.get(f"shape/{label}"), arrays.get(f"mean/{label}")
    if (
        shape is None
        or summary is None
        or values.ndim < 2
        or values.shape[1] != len(steps)
    ):
        raise PortError(
            f"The reference {source} keeps {label!r} at some time steps only, but its shape/, mean/ or steps/ are "
            "missing or do not fit. Make the file anew with Reference.from_keras."
        )
    return Stored(
        values, steps, tuple(map(int, shape)), float(summary[0]), float(summary[1])
    )
