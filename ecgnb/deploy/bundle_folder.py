"""A `Bundle` as a folder.

``bundle.json`` holds the architecture, the preparation, the transforms, the classes,
thresholds, temperature, metrics and where it all came from; ``model.safetensors`` holds
the weights, ``README.md`` the model card. Nothing in it is ever executed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ecgnb.core.errors import CheckpointError
from ecgnb.core.files import (
    atomic_write,
    read_json,
    sha256_file,
    write_json,
    write_text,
)
from ecgnb.data.config import PrepareConfig
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.card import model_card
from ecgnb.models import build_model
from ecgnb.models.base import Backbone
from ecgnb.models.lowering import to_precision
from ecgnb.port import backbone as _  # noqa: F401  registers the model "keras", which bundles of ports name
from ecgnb.transforms.pipeline import build_pipeline

FORMAT = 1
WEIGHTS = "model.safetensors"
DESCRIPTION = "bundle.json"
CARD = "README.md"

_SHOWN = 500  # characters of what PyTorch says of weights that do not fit; a large model has thousands of names


def save_bundle(bundle: Bundle, folder: str | Path) -> Path:
    """Write a bundle: weights, model card and description.

    ``bundle.json`` comes last and carries the weights' checksum, so a half bundle is
    seen.
    """
    folder = Path(folder)
    weights = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in bundle.model.state_dict().items()
    }
    with atomic_write(folder / WEIGHTS) as temporary:
        try:
            save_file(weights, temporary)
        except (
            SafetensorError
        ) as error:  # what the library makes of a write that ends short
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
        "aggregate": bundle.aggregate,
        "metrics": bundle.metrics,
        "provenance": bundle.provenance,
        "weights_sha256": sha256_file(folder / WEIGHTS),
    }
    write_text(folder / CARD, model_card(bundle))
    write_json(folder / DESCRIPTION, description)
    return folder


def load_bundle(folder: str | Path) -> Bundle:
    """Read a bundle back; every tensor must be there, of the right shape, and nothing
    more.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights are not of this
            architecture.
    """
    folder = Path(folder)
    description = _read_description(folder)
    if description.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder / DESCRIPTION} is of format {description.get('format')!r}; this version reads {FORMAT}. "
            "Load it with the version that wrote it, or evaluate the run again."
        )
    try:
        return _bundle_of(description, folder)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / DESCRIPTION} is not as it was written ({type(error).__name__}: {error}). "
            "Copy the whole bundle again, or delete it and evaluate the run again."
        ) from error


def _bundle_of(description: dict[str, Any], folder: Path) -> Bundle:
    prepare: dict[str, Any] = {
        n: tuple(v) if isinstance(v, list) else v
        for n, v in description["prepare"].items()
    }
    return Bundle(
        model=_load_model(folder, description),
        classes=tuple(description["classes"]),
        task=description["task"],
        prepare=PrepareConfig(**prepare),
        transforms=build_pipeline(description["transforms"]),
        thresholds=tuple(description["thresholds"]),
        temperature=description["temperature"],
        aggregate=tuple(description.get("aggregate", ())),  # bundles of 0.1.0 have none
        metrics=description["metrics"],
        provenance=description["provenance"],
    )


def _read_description(folder: Path) -> dict[str, Any]:
    try:
        return dict(read_json(folder / DESCRIPTION))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{folder} holds no readable {DESCRIPTION} ({error}). Give the folder of a finished bundle, "
            "or evaluate the run again to write one."
        ) from error


def _load_model(folder: Path, description: dict[str, Any]) -> Backbone:
    file = folder / WEIGHTS
    if not file.is_file() or sha256_file(file) != description["weights_sha256"]:
        raise CheckpointError(
            f"{file} is missing or not the file that {DESCRIPTION} was written for (its checksum differs). "
            "Copy the whole bundle again, or delete it and evaluate the run again."
        )
    precision = description.get("precision", "float32")  # bundles of 0.1.0 have none
    model = to_precision(build_model(**description["model"]), precision)
    try:
        model.load_state_dict(load_file(file), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"The weights in {file} do not fit model {description['model']['name']!r}: {str(error)[:_SHOWN]} "
            "Copy the whole bundle again, or delete it and evaluate the run again."
        ) from error
    return model.eval()
