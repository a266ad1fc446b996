"""Reader of the files that Keras writes, with h5py, json and zipfile alone.

Six containers are known: a whole ``.h5`` of Keras 1 to 3, ``model.json`` beside
``weights.h5`` of Keras 2 or 3, and the ``.keras`` archive of Keras 2 or 3. Nothing in
them is executed.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgnb.core.errors import EcgnbError, PortError
from ecgnb.core.transient import refuse_transient
from ecgnb.port.reading.calls import Config
from ecgnb.port.reading.hdf5 import open_hdf5, text
from ecgnb.port.reading.keras_weights import Weights, read_weights

#: Weight files that are looked for beside ``model.json``, in this order; ``{stem}`` is
#: its name without ``.json``.
WEIGHT_FILES = (
    "{stem}.weights.h5",
    "{stem}_weights.h5",
    "{stem}.h5",
    "weights.h5",
    "model.weights.h5",
)

#: What h5py, zipfile, json and this package raise on a file that is not as Keras writes
#: it.
DAMAGE = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    EOFError,
    ArithmeticError,
    AssertionError,
    SyntaxError,
    MemoryError,
)

#: An archive may unpack to this many bytes, or to this many times its size.
LARGEST_UNPACKED = 64 * 2**20
MOST_PACKED = 50


@dataclass(frozen=True)
class KerasFile:
    """A Keras model as it is in its file.

    Attributes:
        path: the file that holds the configuration.
        weights_path: the file that holds the weights, often the same.
        container: which kind of file it is, in words.
        keras_version: as written in the file, such as ``"2.6.0"``; may be empty.
        config: ``class_name`` and ``config`` of the model, as Keras serialised it.
        weights: all arrays, in the file's own layout.
    """

    path: Path
    weights_path: Path
    container: str
    keras_version: str
    config: Config
    weights: Weights


def read_keras(path: str | Path, weights: str | Path | None = None) -> KerasFile:
    """Read a Keras model.

    Args:
        path: a ``.keras`` or whole ``.h5`` file, a ``model.json``, or a folder with
            ``model.json`` and its weights.
        weights: the weights that belong to a ``model.json``; by default those beside
            it.

    Raises:
        PortError: a file is missing, truncated, or not of Keras.
        MissingExtraError: h5py is not installed.
    """
    path = _resolve(Path(path))
    with refuse_damaged(path):
        if path.suffix == ".json":
            return _read_pair(path, _weights_of(path, weights))
        if weights is not None:
            raise PortError(
                f"{path.name} holds weights itself; leave out weights={str(weights)!r}."
            )
        read = _read_archive if zipfile.is_zipfile(path) else _read_whole
        return read(path)


def _resolve(path: Path) -> Path:
    if (path / "saved_model.pb").exists() or path.suffix == ".pb":
        raise PortError(
            f"{path} is a TensorFlow SavedModel, which holds a compiled graph and no "
            "layers. Save the model once more with model.save('model.keras') or as .h5."
        )
    if path.is_dir():
        path = path / "model.json"
    if not path.is_file():
        raise PortError(
            f"There is no file {path}. Give a .keras or .h5 file, or a model.json with "
            "its weights beside it."
        )
    return path


@contextmanager
def refuse_damaged(path: Path) -> Iterator[None]:
    """Raise what h5py, zipfile, json and missing keys raise on a broken file as one
    `PortError`.
    """
    try:
        yield
    except EcgnbError:
        raise
    except DAMAGE as error:
        if isinstance(error, OSError):  # damaged sizes raise a MemoryError, too
            refuse_transient(error, path)
        raise PortError(
            f"{path} is truncated, damaged or not a Keras file "
            f"({type(error).__name__}: {error}). Copy it again, or save the model once "
            "more with Keras."
        ) from error


def _weights_of(path: Path, weights: str | Path | None) -> Path:
    if weights is not None:
        if not Path(weights).is_file():
            raise PortError(f"There is no weights file {weights}.")
        return Path(weights)
    names = dict.fromkeys(pattern.format(stem=path.stem) for pattern in WEIGHT_FILES)
    for name in names:
        candidate = path.parent / name
        if candidate.is_file():
            return candidate
    raise PortError(
        f"{path} holds the architecture only, and none of {', '.join(names)} is beside "
        "it. Give the file that holds the weights: weights='...'."
    )


def _read_pair(path: Path, weights_path: Path) -> KerasFile:
    config = _model_config(json.loads(path.read_text(encoding="utf-8")), path)
    with refuse_damaged(weights_path), open_hdf5(weights_path) as file:
        # a whole model may have been saved under the name of weights
        weights = read_weights(file.get("model_weights", file))
        version = text(file.attrs.get("keras_version", ""))
    version = version or str(config.get("keras_version", ""))
    container = f"model.json + weights ({weights.layout})"
    return KerasFile(path, weights_path, container, version, config, weights)


def _read_whole(path: Path) -> KerasFile:
    with open_hdf5(path) as file:
        if "model_config" not in file.attrs:
            raise PortError(
                f"{path} holds weights but no architecture (there is no attribute "
                "model_config). Give the model.json that belongs to it, with "
                "weights=... where it has another name."
            )
        config = _model_config(json.loads(text(file.attrs["model_config"])), path)
        weights = read_weights(file["model_weights"])
        version = text(file.attrs.get("keras_version", ""))
    return KerasFile(path, path, "whole HDF5", version, config, weights)


def _read_archive(path: Path) -> KerasFile:
    with zipfile.ZipFile(path) as archive:
        _refuse_bomb(path, archive)
        broken = archive.testzip()  # reads all checksums
        if broken:
            raise PortError(
                f"{path} is damaged: the checksum of {broken} in it is wrong. Copy the "
                "file again."
            )
        config = _model_config(json.loads(archive.read("config.json")), path)
        metadata = json.loads(archive.read("metadata.json"))
        version = str(metadata.get("keras_version", ""))
        with open_hdf5(io.BytesIO(archive.read("model.weights.h5"))) as file:
            weights = read_weights(file)
    return KerasFile(path, path, ".keras archive", version, config, weights)


def _refuse_bomb(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse an archive that would unpack to far more than weights can be packed."""
    packed = path.stat().st_size
    unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(LARGEST_UNPACKED, MOST_PACKED * packed):
        raise PortError(
            f"{path} has {packed / 1e6:.1f} MB and would unpack to "
            f"{unpacked / 1e6:.0f} MB, which no model does. It is damaged or meant to "
            "do harm."
        )


def _model_config(config: Any, path: Path) -> Config:
    if isinstance(config, dict) and {"class_name", "config"} <= config.keys():
        return config
    raise PortError(
        f"{path} holds JSON, but not the configuration of a Keras model "
        "(no class_name, no config)."
    )
