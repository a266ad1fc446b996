"""Read as much of a Keras file as can be read, to show it; porting is stricter."""

from __future__ import annotations

import json
import re
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

from ecgnb.core.errors import PortError
from ecgnb.port.layers import LAYERS, variables_of
from ecgnb.port.ported import major
from ecgnb.port.reading.graph import Graph, Layer, parse_graph
from ecgnb.port.reading.hdf5 import open_hdf5
from ecgnb.port.reading.keras_file import KerasFile, read_keras
from ecgnb.port.reading.keras_weights import ListedWeights, Variable, Weights

#: What a configuration of an unexpected structure raises.
_STRUCTURE_ERRORS = (LookupError, TypeError, ValueError, AttributeError)
_FILE_ERRORS = (*_STRUCTURE_ERRORS, OSError, RuntimeError, zipfile.BadZipFile)


def read_leniently(
    path: Path, weights: str | Path | None = None
) -> tuple[KerasFile, str]:
    """Read a file, or its architecture alone where the weights are missing or damaged.

    Returns:
        The file, and the problem with its weights; an empty text when there is none.

    Raises:
        PortError: not even the architecture can be read.
    """
    try:
        return read_keras(path, weights), ""
    except PortError as error:
        try:
            config, version = _read_architecture(path)
        except _FILE_ERRORS:
            raise error from None  # the stricter reader has the better message
        container, no_weights = "the architecture alone", ListedWeights({})
        file = KerasFile(path, path, container, version, config, no_weights)
        return file, str(error)


def _read_architecture(path: Path) -> tuple[dict[str, Any], str]:
    """Return configuration and version.

    Raises:
        KeyError: the file holds no Keras model; others of `_FILE_ERRORS` if it is
            damaged.
    """
    if path.is_dir():
        path /= "model.json"
    if path.suffix == ".json":
        config = json.loads(path.read_text(encoding="utf-8"))
        version = config.get("keras_version", "")
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            metadata = json.loads(archive.read("metadata.json"))
            version = metadata.get("keras_version", "")
    else:
        with open_hdf5(path) as file:
            config = json.loads(file.attrs["model_config"])
            version = file.attrs.get("keras_version", "")
    if not isinstance(config, dict) or not {"class_name", "config"} <= set(config):
        raise KeyError("class_name")
    if isinstance(version, bytes):  # h5py returns old attributes so
        version = version.decode("utf-8", "replace")
    return config, str(version)


def parse_leniently(file: KerasFile) -> Graph | str:
    """Return the model's graph, or why there is none."""
    try:
        return parse_graph(file.config, major(file.keras_version))
    except (PortError, *_STRUCTURE_ERRORS) as error:
        return _text(error, "The configuration of the model is not as Keras writes it")


def bind_leniently(file: KerasFile, graph: Graph) -> str:
    """Assign arrays to layers, in whole files also to those of unknown classes; return
    the problem, or an empty text.
    """
    try:
        file.weights.bind(graph, partial(_variables, file.weights))
    except (PortError, *_STRUCTURE_ERRORS) as error:
        return _text(error, "The weights cannot be assigned to layers")
    return ""


def _text(error: Exception, problem: str) -> str:
    """Return the message of a `PortError`, for any other error what it means."""
    if isinstance(error, PortError):
        return str(error)
    return f"{problem} ({type(error).__name__}: {error})."


def _variables(weights: Weights, layer: Layer) -> list[Variable]:
    """Return the weights of a layer; those of an unknown class by their names in the
    file.
    """
    known = layer.class_name in LAYERS or layer.inner
    if known or not isinstance(weights, ListedWeights):
        return variables_of(layer)
    names = [name for name, _ in weights.layers.get(layer.name, [])]
    return [Variable(re.sub(r":\d+$", "", name)) for name in names]  # "kernel:0"
