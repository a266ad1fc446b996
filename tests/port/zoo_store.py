"""Writes a Keras model in each container that its version has, and reads it back."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from zoo_case import Keras


def names_of(name: str, version: int, container: str) -> list[str]:
    stem = f"{name}_k{version}"
    weights = f"{stem}_weights.h5" if version == 2 else f"{stem}.weights.h5"
    return {
        "h5": [f"{stem}.h5"],
        "keras": [f"{stem}.keras"],
        "json": [f"{stem}.json", weights],
    }[container]


def write(model: Any, files: list[Path]) -> None:
    if len(files) == 1:
        model.save(files[0])
    else:
        files[0].write_text(model.to_json(), encoding="utf-8")
        model.save_weights(files[1])
    if files[0].suffix == ".keras":
        squeeze(files[0])


def squeeze(archive: Path) -> None:
    """Compress a .keras file's members: Keras stores them as they are, mostly zeros in
    models as small as these."""
    with zipfile.ZipFile(archive) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        for name, content in members.items():
            new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def read(keras: Keras, files: list[Path]) -> Any:
    if len(files) == 1:
        return keras.api.models.load_model(files[0], compile=False)
    model = keras.api.models.model_from_json(files[0].read_text(encoding="utf-8"))
    model.load_weights(files[1])
    return model
