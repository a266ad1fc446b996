"""Keras 1 under the names of Keras 2: classes, options and arrays."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

#: Options that have another name since, whatever the layer.
_OPTIONS = {
    "border_mode": "padding",
    "bias": "use_bias",
    "init": "kernel_initializer",
    "inner_init": "recurrent_initializer",
    "forget_bias_init": "bias_initializer",
    "inner_activation": "recurrent_activation",
    "W_regularizer": "kernel_regularizer",
    "U_regularizer": "recurrent_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
    "input_dtype": "dtype",
    "nb_filter": "filters",
    "filter_length": "kernel_size",
    "subsample_length": "strides",
    "atrous_rate": "dilation_rate",
    "pool_length": "pool_size",
    "stride": "strides",
    "p": "rate",
    "sigma": "stddev",
    "output_dim": "units",
}
#: Options that Keras 1 wrote and that decided nothing.
_GONE = ("weights", "consume_less", "gamma_init", "beta_init")
_CLASSES = {"Convolution1D": "Conv1D", "AtrousConvolution1D": "Conv1D"}
_MERGES = {
    "sum": "Add",
    "mul": "Multiply",
    "ave": "Average",
    "max": "Maximum",
    "concat": "Concatenate",
}
_ARRAYS = {
    "W": "kernel",
    "U": "recurrent_kernel",
    "b": "bias",
    "running_mean": "moving_mean",
}
#: "running_std" held the variance, whatever its name says.
_ARRAYS |= {"running_std": "moving_variance"}
#: The gates of a recurrent layer in the order in which Keras 2 joins them.
_GATES = {"LSTM": "ifco", "GRU": "zrh"}


def modern_layer(kind: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a layer's class and options as Keras 2 writes them."""
    options = {
        _OPTIONS.get(name, name): value
        for name, value in config.items()
        if name not in _GONE
    }
    if kind == "Embedding":
        options["output_dim"] = options.pop("units")
    if kind == "Merge" and options.get("mode") in _MERGES:
        axis = (
            {"axis": options.get("concat_axis", -1)}
            if options["mode"] == "concat"
            else {}
        )
        return _MERGES[options["mode"]], {"name": options["name"], **axis}
    if kind == "BatchNormalization" and options.get("mode") == 0:
        del options["mode"]
    if kind in _GATES:
        options.setdefault("recurrent_activation", "hard_sigmoid")
        if kind == "GRU":
            options["reset_after"] = False
    return _CLASSES.get(kind, kind), options


def modern_arrays(
    kind: str, stored: list[tuple[str, np.ndarray]]
) -> list[tuple[str, np.ndarray]]:
    """Return a layer's arrays under the names and in the shapes of Keras 2.

    Args:
        kind: the class in Keras 2.
        stored: names such as ``"lstm_1_W_i"``, and arrays.
    """
    found = {_short(name): array for name, array in stored}
    if kind in _GATES and any(name.startswith("W_") for name in found):
        gates = _GATES[kind]
        return [
            (
                _ARRAYS[part],
                np.concatenate([found[f"{part}_{gate}"] for gate in gates], -1),
            )
            for part in "WUb"
        ]
    if kind == "Embedding":
        return [("embeddings", found["W"])]
    if (
        kind == "Conv1D" and found["W"].ndim == 4
    ):  # a convolution over time was one over an image of width 1
        found["W"] = found["W"][:, 0]
    return [(_ARRAYS.get(name, name), array) for name, array in found.items()]


def _short(name: str) -> str:
    """Return ``W_i`` of ``lstm_1_W_i``, ``running_std`` of
    ``batchnormalization_1_running_std:0``.
    """
    match = re.search(
        r"(?:^|_)((?:[WUb]_[a-z])|[WUb]|gamma|beta|running_mean|running_std)(?:_\d+)?(?::\d+)?$",
        name,
    )
    return match[1] if match else name
