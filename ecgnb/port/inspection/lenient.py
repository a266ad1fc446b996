"""Reading as much of a Keras file as can be read, to show it; porting is stricter."""

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
from ecgnb.port.reading.keras_file import KerasFile, open_hdf5, read_keras
from ecgnb.port.reading.keras_weights import ListedWeights, Variable, Weights


def read_leniently(
    path: Path, weights: str | Path | None = None
) -> tuple[KerasFile, str]:
    """Read a file, or its architecture alone where the weights are missing or damaged.

    Returns:
        The file, and what is wrong with it; an empty text when nothing is.

    Raises:
        PortError: not even the architecture can be read.
    """
    try:
        return read_keras(path, weights), ""
    except PortError as error:
        found = _architecture(path / "model.json" if path.is_dir() else path)
        if found is None:
            raise
        config, version = found
        return KerasFile(
            path, path, "the architecture alone", version, config, ListedWeights({})
        ), str(error)


def _architecture(path: Path) -> tuple[dict[str, Any], str] | None:
    """Return configuration and version where they can be read."""
    try:
        if path.suffix == ".json":
            config = json.loads(path.read_text(encoding="utf-8"))
            version = config.get("keras_version", "")
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
                version = json.loads(archive.read("metadata.json")).get(
                    "keras_version", ""
                )
        else:
            with open_hdf5(path) as file:
                config = json.loads(file.attrs["model_config"])
                version = file.attrs.get("keras_version", "")
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        zipfile.BadZipFile,
    ):
        return None
    version = (
        version.decode("utf-8", "replace")
        if isinstance(version, bytes)
        else str(version)
    )
    return (
        (config, version)
        if isinstance(config, dict) and {"class_name", "config"} <= set(config)
        else None
    )


def parse_leniently(file: KerasFile) -> Graph | str:
    """Return the model's graph, or why there is none."""
    try:
        return parse_graph(file.config, major(file.keras_version))
    except PortError as error:
        return str(error)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        return f"The configuration of the model is not as Keras writes it ({type(error).__name__}: {error})."


def bind_leniently(file: KerasFile, graph: Graph) -> str:
    """Give each layer its arrays, those of unknown classes in whole files, too; return
    what does not fit.
    """
    try:
        file.weights.bind(graph, partial(_variables, file.weights))
    except PortError as error:
        return str(error)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        return f"The weights cannot be told apart ({type(error).__name__}: {error})."
    return ""


def _variables(weights: Weights, layer: Layer) -> list[Variable]:
    """Return the weights of a layer; those of an unknown class by the names that the
    file gives them.
    """
    if (
        layer.class_name in LAYERS
        or layer.inner
        or not isinstance(weights, ListedWeights)
    ):
        return variables_of(layer)
    return [
        Variable(re.sub(r":\d+$", "", name))
        for name, _ in weights.layers.get(layer.name, [])
    ]
