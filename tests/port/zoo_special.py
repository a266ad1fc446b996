"""Files of the layer zoo that need care: those of old Keras, imitated by hand, and
models that a port should refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from zoo_case import Keras
from zoo_golden import flat_run, golden, random_inputs, randomise
from zoo_store import write

Lines = list[dict[str, Any]]

#: Keras 2 argument -> Keras 1 argument.
KERAS_1_ARGUMENTS = {
    "filters": "nb_filter",
    "kernel_size": "filter_length",
    "strides": "subsample_length",
    "padding": "border_mode",
    "use_bias": "bias",
    "rate": "p",
    "pool_size": "pool_length",
    "recurrent_activation": "inner_activation",
}
KERAS_1_NAMES = {
    "kernel": "W",
    "bias": "b",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "running_mean",
    "moving_variance": "running_std",
}
#: Without a counterpart in Keras 1, at the value that Keras 1 always used.
KERAS_1_LACKS = (
    "data_format",
    "dilation_rate",
    "groups",
    "batch_input_shape",
    "dtype",
    "seed",
    "noise_shape",
    "time_major",
)
#: Keras 1 stored an LSTM's gates apart, in this order; later Keras join them as i, f,
#: c, o.
KERAS_1_GATES = {"i": 0, "c": 2, "f": 1, "o": 3}


def small_network(keras: Keras, name: str) -> Any:
    layers = keras.layers
    stack = [
        layers.Conv1D(
            4,
            3,
            padding="same",
            activation="relu",
            name="convolution1d_1",
            input_shape=(20, 2),
        ),
        layers.MaxPooling1D(2, name="maxpooling1d_1"),
        layers.Dropout(0.2, name="dropout_1"),
        layers.BatchNormalization(name="batchnormalization_1"),
        layers.Conv1D(3, 4, strides=2, name="convolution1d_2"),
        layers.Flatten(name="flatten_1"),
        layers.Dense(3, name="dense_1"),
        layers.Activation("softmax", name="activation_1"),
    ]
    return prepared(keras.sequential(stack, name="sequential_1"), name)


def small_recurrent(keras: Keras, name: str) -> Any:
    layers = keras.layers
    lstm = layers.LSTM(
        3, recurrent_activation="hard_sigmoid", name="lstm_1", input_shape=(9, 2)
    )
    return prepared(
        keras.sequential(
            [lstm, layers.Dense(2, activation="sigmoid", name="dense_1")],
            "sequential_1",
        ),
        name,
    )


def prepared(model: Any, name: str) -> Any:
    randomise(model, name)
    return model


def layer_list(model: Any) -> Lines:
    """Return a Sequential as Keras before 2.2.3 wrote it: a bare list, the input's
    shape in the first layer."""
    entries = [
        e
        for e in json.loads(model.to_json())["config"]["layers"]
        if e["class_name"] != "InputLayer"
    ]
    entries[0]["config"]["batch_input_shape"] = [None, *model.input_shape[1:]]
    return [{"class_name": e["class_name"], "config": e["config"]} for e in entries]


def keras_1_layer(entry: dict[str, Any]) -> dict[str, Any]:
    """Turn a layer's Keras 2 configuration into that of Keras 1.2."""
    kind, old = entry["class_name"], entry["config"]
    names = KERAS_1_ARGUMENTS | {"units": "output_dim"}
    if kind == "MaxPooling1D":
        names = names | {"strides": "stride"}
    plain = {
        key: value
        for key, value in old.items()
        if key not in KERAS_1_LACKS and not isinstance(value, dict)
    }
    plain = {
        key: value
        for key, value in plain.items()
        if "regularizer" not in key and "constraint" not in key
    }
    config = {
        names.get(key, key): value[0]
        if key in names and isinstance(value, list)
        else value
        for key, value in plain.items()
    }
    if "batch_input_shape" in old:
        config |= {
            "batch_input_shape": old["batch_input_shape"],
            "input_dtype": "float32",
        }
    if kind == "BatchNormalization":
        config |= {"mode": 0, "axis": -1}
    return {
        "class_name": "Convolution1D" if kind == "Conv1D" else kind,
        "config": config,
    }


def keras_1_weights(layer: Any) -> dict[str, np.ndarray]:
    """Return a layer's weights under the names and in the shapes of Keras 1.2 on
    TensorFlow."""
    kind = type(layer).__name__
    if kind == "LSTM":
        parts = [np.split(weight, 4, axis=-1) for weight in layer.get_weights()]
        return {
            f"{layer.name}_{w}_{g}": part[at]
            for g, at in KERAS_1_GATES.items()
            for w, part in zip("WUb", parts, strict=True)
        }
    found = {
        KERAS_1_NAMES[w.name.split("/")[-1].split(":")[0]]: w.numpy()
        for w in layer.weights
    }
    if kind == "Conv1D":
        found["W"] = found["W"][:, None]
    return {f"{layer.name}_{leaf}": values for leaf, values in found.items()}


def write_groups(
    group: Any, weights: dict[str, dict[str, np.ndarray]], version: str
) -> None:
    """Write weights as all Keras before 3 did, with attributes in bytes as h5py 2 wrote
    them."""
    group.attrs["layer_names"] = np.array([name.encode() for name in weights])
    if not version.startswith(
        "1"
    ):  # Keras 1 named its version at the root only, if at all
        group.attrs["backend"] = np.bytes_(b"tensorflow")
        group.attrs["keras_version"] = np.bytes_(version.encode())
    for layer, arrays in weights.items():
        inner = group.create_group(layer)
        inner.attrs["weight_names"] = np.array(
            [name.encode() for name in arrays], dtype="S"
        )
        for name, values in arrays.items():
            inner[name] = values


def write_old(
    files: list[Path],
    config: Any,
    weights: dict[str, dict[str, np.ndarray]],
    version: str,
) -> None:
    import h5py

    text = json.dumps(
        {"class_name": "Sequential", "config": config, "keras_version": version}
    )
    if len(files) == 2:
        files[0].write_text(text, encoding="utf-8")
        with h5py.File(files[1], "w") as file:
            write_groups(file, weights, version)
        return
    with h5py.File(files[0], "w") as file:
        file.attrs["model_config"] = np.bytes_(text.encode())
        file.attrs["keras_version"] = np.bytes_(version.encode())
        write_groups(file.create_group("model_weights"), weights, version)


def same_outputs(keras: Keras, model: Any, arrays: dict[str, np.ndarray]) -> None:
    inputs = [values for key, values in arrays.items() if key.startswith("in/")]
    for index, values in enumerate(flat_run(keras, model, inputs)):
        np.testing.assert_allclose(values, arrays[f"out/{index}"], rtol=1e-5, atol=1e-6)


def save(keras: Keras, model: Any, folder: Path, name: str) -> dict[str, np.ndarray]:
    arrays = golden(keras, model, random_inputs(keras, model, name))
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    return arrays


def line_of(
    case: str, version: int, files: list[Path], arrays: dict[str, np.ndarray], note: str
) -> dict[str, Any]:
    container = "json" if len(files) == 2 else files[0].suffix[1:]
    line = {
        "case": case,
        "keras": version,
        "container": container,
        "files": [file.name for file in files],
    }
    inputs = [key[3:] for key in arrays if key.startswith("in/")]
    return line | {"golden": f"{case}.npz", "inputs": inputs, "note": note}


def keras_1(keras: Keras, folder: Path) -> Lines:
    """Imitate Keras 1.2. tf_keras still converts such weights and checks them; nothing
    reads the architecture."""
    builders: dict[str, Callable[[Keras, str], Any]] = {
        "old_keras1_cnn": small_network,
        "old_keras1_lstm": small_recurrent,
    }
    note = "Imitated: as Keras 1.2.2 wrote it. tf_keras reads the weights, nothing reads the architecture."
    lines = []
    for name, build in builders.items():
        model = build(keras, name)
        arrays = save(keras, model, folder, name)
        config = [keras_1_layer(entry) for entry in layer_list(model)]
        weights = {layer.name: keras_1_weights(layer) for layer in model.layers}
        whole, pair = (
            [folder / f"{name}_k1.h5"],
            [folder / f"{name}_k1.json", folder / f"{name}_k1_weights.h5"],
        )
        write_old(whole, config, weights, "1.2.2")
        write_old(pair, config, weights, "1.2.2")
        for file in (whole[0], pair[1]):
            other = build(keras, "other")
            other.load_weights(file)
            same_outputs(keras, other, arrays)
        lines += [line_of(name, 1, files, arrays, note) for files in (whole, pair)]
    return lines


def bare_list(keras: Keras, folder: Path) -> Lines:
    """Imitate Keras 2.0 to 2.2.2, whose Sequential was a bare list of layers; tf_keras
    reads it."""
    name = "old_bare_list"
    model = small_network(keras, name)
    arrays = save(keras, model, folder, name)
    weights = {
        layer.name: {w.name: w.numpy() for w in layer.weights} for layer in model.layers
    }
    file = folder / f"{name}_k2.h5"
    write_old([file], layer_list(model), weights, "2.1.6")
    same_outputs(keras, keras.api.models.load_model(file, compile=False), arrays)
    return [
        line_of(
            name,
            2,
            [file],
            arrays,
            "Imitated: a Sequential of Keras 2.1.6, attributes in bytes.",
        )
    ]


def split_attributes(keras: Keras, folder: Path) -> Lines:
    """Write the names in several attributes (layer_names0, layer_names1, ...), as Keras
    does above 64 kB."""
    import h5py
    from tf_keras.src.saving.legacy import hdf5_format

    name = "attributes_split"
    model = small_network(keras, name)
    arrays = save(keras, model, folder, name)
    file, limit = folder / f"{name}_k2.h5", hdf5_format.HDF5_OBJECT_HEADER_LIMIT
    hdf5_format.HDF5_OBJECT_HEADER_LIMIT = 100
    write(model, [file])
    hdf5_format.HDF5_OBJECT_HEADER_LIMIT = limit
    with h5py.File(file) as stored:
        assert "layer_names1" in stored["model_weights"].attrs
    same_outputs(keras, keras.api.models.load_model(file, compile=False), arrays)
    return [
        line_of(
            name, 2, [file], arrays, "Lists of names are split over several attributes."
        )
    ]


def refused_models(keras: Keras) -> dict[str, Any]:
    layers, x = keras.layers, keras.input(12, 2)

    def model(*stack: Any) -> Any:
        path = x
        for layer in stack:
            path = layer(path)
        return keras.model(x, path)

    @keras.api.utils.register_keras_serializable(package="ecg")
    class Gain(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2.0

    batch = keras.api.Input(batch_shape=(2, 12, 2), name="ecg")
    image = keras.input(12, 4, 1, name="image")
    found = {
        "lambda": model(layers.Lambda(lambda values: values * 2.0, name="doubled")),
        "custom_layer": model(Gain(name="gain")),
        "masking": model(layers.Masking(name="masking"), layers.LSTM(2, name="lstm")),
        "conv2d": keras.model(image, layers.Conv2D(2, 3, name="conv2d")(image)),
        "stateful": keras.model(
            batch, layers.LSTM(2, stateful=True, name="stateful_lstm")(batch)
        ),
    }
    keras.api.mixed_precision.set_global_policy("mixed_float16")
    half = keras.input(12, 2)
    found["float16"] = keras.model(half, layers.Dense(2, name="half_dense")(half))
    keras.api.mixed_precision.set_global_policy("float32")
    return found


REASONS = {
    "lambda": "A Lambda layer holds Python code.",
    "custom_layer": "ecg>Gain is a class of the writer's own.",
    "masking": "Masking changes what the layers after it compute.",
    "conv2d": "Conv2D is no layer for signals.",
    "stateful": "A stateful LSTM depends on the batches before.",
    "float16": "The layers compute in float16 (policy mixed_float16).",
}


def refused(keras: Keras, folder: Path) -> Lines:
    lines = []
    for name, model in refused_models(keras).items():
        suffix = (
            ".h5" if keras.version == 2 and name in ("lambda", "stateful") else ".keras"
        )
        files = [folder / f"refused_{name}_k{keras.version}{suffix}"]
        write(model, files)
        line = {
            "case": f"refused_{name}",
            "keras": keras.version,
            "files": [file.name for file in files],
        }
        lines.append(line | {"reason": REASONS[name]})
    return lines


def make_special(both: dict[int, Keras], folder: Path) -> tuple[Lines, Lines]:
    """Return the lines of the index for models to read and for models to refuse."""
    both[2].data.clear()
    models = [
        *keras_1(both[2], folder),
        *bare_list(both[2], folder),
        *split_attributes(both[2], folder),
    ]
    return models, [*refused(both[2], folder), *refused(both[3], folder)]
