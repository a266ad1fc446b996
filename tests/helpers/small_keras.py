"""Writes small whole-HDF5 Keras files by hand, to give layers names and options that
Keras itself would not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Entry = tuple[str, dict[str, Any], dict[str, np.ndarray]]


def conv(name: str, n_in: int, **options: Any) -> Entry:
    """Return a convolution of width 3 to four channels, with ones as its kernel."""
    arrays = {
        "kernel": np.ones((3, n_in, 4), np.float32),
        "bias": np.zeros(4, np.float32),
    }
    config = {
        "name": name,
        "filters": 4,
        "kernel_size": [3],
        "strides": [1],
        "padding": "same",
        "activation": "relu",
    }
    return "Conv1D", {**config, **options}, arrays


def dense(name: str, n_in: int, n_out: int, **options: Any) -> Entry:
    rng = np.random.default_rng(n_in * 31 + n_out)
    arrays = {"kernel": rng.normal(size=(n_in, n_out)), "bias": rng.normal(size=n_out)}
    config = {
        "name": name,
        "units": n_out,
        "use_bias": True,
        "activation": "linear",
        **options,
    }
    return (
        "Dense",
        config,
        {key: array.astype(np.float32) for key, array in arrays.items()},
    )


def write_sequential(
    path: Path, shape: list[int | None], entries: list[Entry], name: str = "sequential"
) -> Path:
    """Write a Sequential model as Keras 2 does; class name, options and arrays of each
    layer are given."""
    layers = [
        {"class_name": kind, "config": dict(config)} for kind, config, _ in entries
    ]
    layers[0]["config"]["batch_input_shape"] = [None, *shape]
    config = {"class_name": "Sequential", "config": {"name": name, "layers": layers}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.6.0"
        weights = file.create_group("model_weights")
        names = [str(config["name"]) for _, config, _ in entries]
        weights.attrs["layer_names"] = np.array([each.encode() for each in names])
        for (_, _, arrays), each in zip(entries, names, strict=True):
            group = weights.create_group(each)
            stored = [f"{place}/{key}:0" for place, key in enumerate(arrays)]
            group.attrs["weight_names"] = np.array(
                [text.encode() for text in stored] or [], dtype="S64"
            )
            for text, array in zip(stored, arrays.values(), strict=True):
                group[text] = array
    return path
