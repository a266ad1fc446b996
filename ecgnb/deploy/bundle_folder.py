"""Save a `Bundle` as a folder and load it.

``bundle.json`` has the architecture, the preparation, the transforms, the classes,
thresholds, offset, temperature, metrics and provenance; ``model.safetensors`` the
weights, ``README.md`` the model card. Nothing in it is ever executed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import ecgnb.port.backbone  # noqa: F401  registers "keras", the model of ported bundles
from ecgnb.core.errors import CheckpointError, ConfigError
from ecgnb.core.files import (
    atomic_write,
    read_json,
    remove_file,
    remove_leftovers,
    require_seal,
    sha256_file,
    write_sealed,
    write_text,
)
from ecgnb.core.transient import refuse_transient
from ecgnb.data.config import PrepareConfig
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.card import model_card, without_paths
from ecgnb.models import build_model
from ecgnb.models.base import Backbone
from ecgnb.models.lowering import to_precision
from ecgnb.transforms.pipeline import build_pipeline

FORMAT = 2
WEIGHTS = "model.safetensors"
DESCRIPTION = "bundle.json"
CARD = "README.md"

_MAX_SHOWN = 500  # characters of PyTorch's message, which may list thousands of names
_AGAIN = "Copy the whole bundle again, or delete it and evaluate the run again."


def save_bundle(bundle: Bundle, folder: str | Path) -> Path:
    """Write weights, model card and description.

    ``bundle.json`` is removed first and written last, with the weights' checksum and
    its own, so that half a bundle is recognised.
    """
    folder = Path(folder)
    remove_file(folder / DESCRIPTION)  # first: what remains is no bundle
    remove_leftovers(folder, below=False)
    weights = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in bundle.model.state_dict().items()
    }
    with atomic_write(folder / WEIGHTS) as temporary:
        try:
            save_file(weights, temporary)
        except SafetensorError as error:  # raised for a full disk
            raise OSError(str(error)) from error
    description = {
        "format": FORMAT,
        "model": bundle.model.spec(),
        "precision": bundle.precision,
        "classes": bundle.classes,
        "task": bundle.task,
        "prepare": dataclasses.asdict(bundle.prepare),
        "transforms": bundle.transforms.specs(),
        "thresholds": bundle.thresholds,
        "temperature": bundle.temperature,
        "logit_offset": bundle.logit_offset,
        "aggregate": bundle.aggregate,
        "metrics": bundle.metrics,
        # Folders of the maker are of no use elsewhere and may name a person.
        "provenance": without_paths(bundle.provenance),
        "weights_sha256": sha256_file(folder / WEIGHTS),
    }
    write_text(folder / CARD, model_card(bundle))
    write_sealed(folder / DESCRIPTION, description)
    return folder


def load_bundle(folder: str | Path) -> Bundle:
    """Read a bundle; its tensors must be exactly those of its architecture.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights are not of this
            architecture.
    """
    folder = Path(folder)
    file = folder / DESCRIPTION
    try:
        description = dict(read_json(file))
    except (OSError, ValueError, TypeError) as error:
        refuse_transient(error, file)
        raise CheckpointError(
            f"{folder} has no readable {DESCRIPTION} ({error}). Give the folder of a "
            "finished bundle, or evaluate the run again to write one."
        ) from error
    if description.get("format") != FORMAT:
        raise CheckpointError(
            f"{file} is of format {description.get('format')!r}; this version reads "
            f"{FORMAT}. Load it with the version that wrote it, or evaluate the run "
            "again."
        )
    try:
        bundle = _build_bundle(description, folder)
        require_seal(description)  # after what has a message of its own
        return bundle
    except ConfigError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{file} was changed ({type(error).__name__}: {error}). {_AGAIN}"
        ) from error


def _build_bundle(description: dict[str, Any], folder: Path) -> Bundle:
    prepare = dict(description["prepare"])
    for name, value in prepare.items():
        if isinstance(value, list):  # JSON has no tuples
            prepare[name] = tuple(value)
    return Bundle(
        model=_load_model(folder / WEIGHTS, description),
        classes=tuple(description["classes"]),
        task=description["task"],
        prepare=PrepareConfig(**prepare),
        transforms=build_pipeline(description["transforms"]),
        thresholds=tuple(description["thresholds"]),
        temperature=description["temperature"],
        logit_offset=tuple(description["logit_offset"]),
        aggregate=tuple(description["aggregate"]),
        metrics=description["metrics"],
        provenance=description["provenance"],
    )


def _load_model(file: Path, description: dict[str, Any]) -> Backbone:
    if not file.is_file() or sha256_file(file) != description["weights_sha256"]:
        raise CheckpointError(
            f"{file} is missing or not the file that {DESCRIPTION} was written for "
            f"(its checksum differs). {_AGAIN}"
        )
    model = to_precision(build_model(**description["model"]), description["precision"])
    try:
        model.load_state_dict(load_file(file), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"The weights in {file} do not fit model {description['model']['name']!r}: "
            f"{str(error)[:_MAX_SHOWN]} {_AGAIN}"
        ) from error
    return model.eval()
