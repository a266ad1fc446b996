"""A port as a folder: ``model.safetensors``, ``port.json``, and ``model.py`` for
reading. Nothing in it is executed.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ecgnb.core.environment import package_version
from ecgnb.core.errors import CheckpointError, ConfigError, PortError, first_few
from ecgnb.core.files import (
    atomic_write,
    fingerprint,
    read_json,
    remove_file,
    remove_leftovers,
    require_seal,
    sha256_file,
    write_json,
    write_sealed,
    write_text,
)
from ecgnb.core.transient import refuse_transient
from ecgnb.port.build import load_state, refuse_unknown
from ecgnb.port.ported import PortedModel, build_port, major
from ecgnb.port.reading.calls import Config
from ecgnb.port.reading.graph import parse_graph
from ecgnb.port.reading.keras_file import DAMAGE
from ecgnb.port.source.source import source_code

FORMAT = 1
WEIGHTS = "model.safetensors"
DESCRIPTION = "port.json"
SOURCE = "model.py"
REPORT = "report.html"
#: Exists while a port is being written.
STARTED = "port-started.json"
_AGAIN = "Copy the whole folder again, or convert the Keras file once more."


def save_port(
    port: PortedModel, folder: str | Path, *, class_name: str = "Model", notes: str = ""
) -> Path:
    """Write a port; ``port.json`` is written last and has the weights' checksum, so
    that an incomplete folder is recognised. A writer that is killed leaves
    ``port-started.json``, by which the same call knows its own folder and completes it.

    Args:
        port: as `port_keras` returns it, perhaps trained further.
        folder: made when it is missing; files of the same names are replaced.
        class_name: of the class in ``model.py``.
        notes: kept in ``port.json``, such as licence and attribution of the weights.

    Raises:
        ConfigError: the class name cannot be used, or the folder holds something else.
        PortError: the weights hold NaN or infinity, or the configuration holds what
            JSON cannot.
    """
    folder = Path(folder)
    _refuse_other_files(folder)
    source = source_code(port, class_name)
    state = {}
    for name, tensor in port.state_dict().items():
        # safetensors refuses tensors that share memory
        state[name] = tensor.detach().cpu().contiguous().clone()
    _refuse_damaged(port, state)
    write_json(folder / STARTED, {"ecgnb": package_version("ecgnb")})
    # First the description, then what it describes: nothing old is left beside the new.
    for name in (DESCRIPTION, REPORT):
        remove_file(folder / name)
    remove_leftovers(folder, below=False)
    with atomic_write(folder / WEIGHTS) as temporary:
        try:
            save_file(state, temporary)
        except SafetensorError as error:  # raised for a write that ends short
            raise OSError(str(error)) from error
    write_text(folder / SOURCE, source)
    # Last: a folder without it, or with another checksum, is incomplete.
    write_sealed(folder / DESCRIPTION, _description(port, folder, notes))
    remove_file(folder / STARTED)
    return folder


def _refuse_other_files(folder: Path) -> None:
    """Refuse a folder that holds neither a port, nor the beginning of one, nor
    nothing.
    """
    is_started = (folder / STARTED).is_file()
    if not folder.is_dir() or is_started or is_port(folder):
        return
    # A writer may be killed before the first file has its name.
    others = [file for file in folder.iterdir() if not _is_first_temporary(file)]
    if others:
        raise ConfigError(
            f"{folder} holds other files and no port. Give a new folder, or that of an "
            "older port."
        )


def _is_first_temporary(file: Path) -> bool:
    return file.name.startswith(".tmp-") and file.name.endswith(STARTED)


def load_port(folder: str | Path) -> PortedModel:
    """Read a port back, without h5py; ``model.py`` is not read.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights are not those of
            the folder.
        PortError: the model has a layer that this version cannot build, or weights
            that are not finite.
    """
    folder = Path(folder)
    described = _read_description(folder)
    try:
        config, version = described["config"], described["keras_version"]
        graph = parse_graph(config, major(version))
        refuse_unknown(graph)
        port = build_port(graph, config, version, described["input_layout"])
        source = described["source"]
        port.meta["source"] = {str(key): str(source[key]) for key in source}
        port.meta["notes"] = str(described["notes"])
        if described["contract"] is not None:
            port.agree(described["contract"])
    except PortError:
        raise
    except DAMAGE as error:
        raise CheckpointError(
            f"{folder / DESCRIPTION} is not as it was written "
            f"({type(error).__name__}: {error}). {_AGAIN}"
        ) from error
    load_state(port, _read_weights(folder / WEIGHTS, described))  # checks every shape
    try:
        require_seal(described)
    except ValueError as error:
        raise CheckpointError(
            f"{folder / DESCRIPTION} was changed ({error}). {_AGAIN}"
        ) from error
    return port


def is_port(path: str | Path) -> bool:
    """Whether a path is the folder of a port, not a Keras file or a folder with
    ``model.json``.
    """
    return (Path(path) / DESCRIPTION).is_file()


def _refuse_damaged(port: PortedModel, state: dict[str, torch.Tensor]) -> None:
    bad = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if bad:
        raise PortError(
            f"The weights {first_few(bad, 3)} hold NaN or infinity; a port like that "
            "is not written."
        )
    try:
        # JSON turns tuples into lists and number keys into text without an error.
        kept = json.loads(json.dumps(port.origin.config, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        kept = None
    if kept != port.origin.config:
        raise PortError(
            "The Keras configuration holds a number or an object that JSON cannot; it "
            "cannot be kept."
        )


def _description(port: PortedModel, folder: Path, notes: str) -> Config:
    origin = port.origin
    ends = zip(origin.outputs, origin.activations, strict=True)
    description = {
        "format": FORMAT,
        "ecgnb": package_version("ecgnb"),
        "source": port.source,
        "keras_version": origin.keras_version,
        "input_layout": origin.input_layout,
        "inputs": origin.inputs,
        "outputs": [{"shape": shape, "activation": end} for shape, end in ends],
        "contract": dataclasses.asdict(port.contract) if port.contract else None,
        "notes": notes or port.meta.get("notes", ""),
        "weights_sha256": sha256_file(folder / WEIGHTS),
        "config": origin.config,
    }
    return {**description, "model_sha256": _model_checksum(description)}


def _model_checksum(described: Config) -> str:
    """Return a checksum of all that decides the architecture."""
    names = ("config", "keras_version", "input_layout")
    return fingerprint([described.get(name) for name in names], 64)


def _read_description(folder: Path) -> Config:
    file = folder / DESCRIPTION
    try:
        described = dict(read_json(file))
    except (OSError, ValueError, TypeError) as error:
        refuse_transient(error, file)
        raise CheckpointError(
            f"{folder} holds no readable {DESCRIPTION} ({error}). Give a folder that "
            "`ecgnb port convert` wrote."
        ) from error
    if described.get("format") != FORMAT:
        raise CheckpointError(
            f"{file} is of format {described.get('format')!r}; this version reads "
            f"{FORMAT}. Load it with the version that wrote it, or convert the Keras "
            "file once more."
        )
    if _model_checksum(described) != described.get("model_sha256"):
        raise CheckpointError(
            f"The model in {file} is not the one that was written (its checksum "
            f"differs). {_AGAIN}"
        )
    return described


def _read_weights(file: Path, described: Config) -> dict[str, torch.Tensor]:
    if not file.is_file() or sha256_file(file) != described.get("weights_sha256"):
        raise CheckpointError(
            f"{file} is missing or not the file that {DESCRIPTION} was written for "
            f"(its checksum differs). {_AGAIN}"
        )
    try:
        return load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file} cannot be read ({error}). {_AGAIN}") from error
