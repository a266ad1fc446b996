"""Keras 1 under the names of Keras 2: classes, options and arrays."""

from __future__ import annotations

import re

import numpy as np

from ecgnb.port.reading.calls import Config

#: Options that have another name in Keras 2, in any layer.
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
#: Options of Keras 1 without effect.
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
    "running_std": "moving_variance",  # Keras 1 stored the variance under this name
}
#: The gates of a recurrent layer in the order in which Keras 2 joins them.
_GATES = {"LSTM": "ifco", "GRU": "zrh"}


def modern_layer(kind: str, config: Config) -> tuple[str, Config]:
    """Return a layer's class and options as Keras 2 writes them."""
    options = {}
    for name, value in config.items():
        if name not in _GONE:
            options[_OPTIONS.get(name, name)] = value
    if kind == "Embedding":
        options["output_dim"] = options.pop("units")  # not of a Dense layer
    mode = options.get("mode")
    if kind == "Merge" and mode in _MERGES:
        merge = {"name": options["name"]}
        if mode == "concat":
            merge["axis"] = options.get("concat_axis", -1)
        return _MERGES[mode], merge
    if kind == "BatchNormalization" and mode == 0:  # as Keras 2 normalises
        del options["mode"]
    if kind in _GATES:
        options.setdefault("recurrent_activation", "hard_sigmoid")
        if kind == "GRU":
            options["reset_after"] = False  # the only equation then
    return _CLASSES.get(kind, kind), options


def modern_arrays(
    kind: str, stored: list[tuple[str, np.ndarray]]
) -> list[tuple[str, np.ndarray]]:
    """Return a layer's arrays under the names and in the shapes of Keras 2.

    Args:
        kind: the class in Keras 2.
        stored: names such as ``"lstm_1_W_i"``, and arrays.
    """
    arrays = {_short(name): array for name, array in stored}
    if kind in _GATES and any(name.startswith("W_") for name in arrays):
        joined = []
        for array in "WUb":
            gates = [arrays[f"{array}_{gate}"] for gate in _GATES[kind]]  # [in, H] each
            joined.append((_ARRAYS[array], np.concatenate(gates, -1)))
        return joined
    if kind == "Embedding":
        return [("embeddings", arrays["W"])]
    if kind == "Conv1D" and arrays["W"].ndim == 4:  # [K, 1, in, out], of an image
        arrays["W"] = arrays["W"][:, 0]
    return [(_ARRAYS.get(name, name), array) for name, array in arrays.items()]


def _short(name: str) -> str:
    """Return ``W_i`` of ``lstm_1_W_i``, ``running_std`` of
    ``batchnormalization_1_running_std:0``.
    """
    array = "[WUb]_[a-z]|[WUb]|gamma|beta|running_mean|running_std"
    match = re.search(rf"(?:^|_)({array})(?:_\d+)?(?::\d+)?$", name)
    return match[1] if match else name
