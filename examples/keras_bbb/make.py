"""How this folder's Keras model was made. Not needed to use it; run by hand.

    python examples/keras_bbb/make.py prepare data.npz      # with ecgnb
    python examples/keras_bbb/make.py train data.npz        # with TensorFlow 2.21 and tf_keras 2.21, without ecgnb

The network has the shape of the pathology CNNs of Gumpfer et al. (AIME 2024) with 16 filters in place of 64, and knows
synthetic hearts only.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
EVERY = 61  # a prime: all phases of all strides occur among the steps that are kept


def prepare(out: str) -> None:
    """Write signals [n, 1000, 12] at 250 Hz in mV, and whether a bundle branch is blocked."""
    import pandas as pd

    from ecgnb.core.errors import ReadError
    from ecgnb.data.config import PrepareConfig
    from ecgnb.data.demo.cohort_files import DemoConfig, make_demo
    from ecgnb.data.readers.reading import read_recording
    from ecgnb.data.signal.leads import STANDARD_12
    from ecgnb.data.signal.standardise import standardise

    folder = make_demo(
        Path(tempfile.mkdtemp()) / "demo", DemoConfig(n_records=1200, seed=7)
    )
    config = PrepareConfig(250.0, 1000, STANDARD_12, crop="start")
    signals, blocked = [], []
    for row in pd.read_csv(folder / "unified_label_mapping.csv").itertuples():
        try:
            recording = read_recording(folder / "records" / f"{row.record_id}.hea")
            signals.append(standardise(recording, config).signal.T)
            blocked.append("BBB" in row.mapped_label)
        except ReadError as error:
            print(row.record_id, error)
    np.savez(out, signals=np.stack(signals), blocked=np.array(blocked))


def train(data: str) -> None:
    """Train, save in the two files of Keras 2, and write what every layer gives for two recordings."""
    import tensorflow as tf
    import tf_keras as keras

    keras.utils.set_random_seed(0)
    stored = np.load(data)
    signals, blocked = stored["signals"], stored["blocked"]
    targets = np.eye(2, dtype=np.float32)[blocked.astype(int)]
    model = network(keras)
    model.compile(
        keras.optimizers.Adam(2e-3), "categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(
        signals[:1000],
        targets[:1000],
        batch_size=32,
        epochs=25,
        verbose=2,
        class_weight={0: 1.0, 1: 3.0},
    )
    print("held out:", model.evaluate(signals[1000:], targets[1000:], verbose=0))
    (HERE / "model.json").write_text(
        json.dumps(json.loads(model.to_json()), indent=1), encoding="utf-8"
    )
    model.save_weights(HERE / "weights.h5")
    chosen = np.concatenate(
        [
            1000 + np.flatnonzero(blocked[1000:])[:1],
            1000 + np.flatnonzero(~blocked[1000:])[:1],
        ]
    )
    np.savez_compressed(
        HERE / "golden.npz", **golden(tf, keras, model, signals[chosen])
    )


def network(keras):
    """Return the network: five blocks of convolution, ELU and pooling, three dense layers, a softmax."""
    layers = keras.layers
    model = keras.Sequential([layers.InputLayer((1000, 12), name="conv1d_input")])
    for block in range(5):
        model.add(layers.Conv1D(16, 3, padding="same", kernel_initializer="he_uniform"))
        model.add(layers.Activation("elu"))
        model.add(layers.MaxPooling1D(2))
        if block:
            model.add(layers.Dropout(0.1))
    model.add(layers.GlobalAveragePooling1D())
    for _ in range(3):
        model.add(layers.Dense(16, kernel_initializer="he_uniform"))
        model.add(layers.Activation("elu"))
        model.add(layers.Dropout(0.25))
    model.add(layers.Dense(2))
    model.add(layers.Softmax())
    return model


def golden(tf, keras, model, x) -> dict:
    """Return the reference values: outputs of all layers, of large ones at some steps, and an input gradient."""
    kept = [
        layer for layer in model.layers if not isinstance(layer, keras.layers.Dropout)
    ]
    found = keras.Model(model.input, [layer.output for layer in kept])(
        x, training=False
    )
    values = {
        "in/conv1d_input": x,
        "out/0": found[-1].numpy(),
        "order": np.array([each.name for each in model.layers]),
    }
    for layer, tensor in zip(kept, found, strict=True):
        full = tensor.numpy()
        values[f"shape/{layer.name}"] = np.array(full.shape)
        values[f"mean/{layer.name}"] = np.array([full.mean(), np.abs(full).max()])
        if full[0].size > 6000:
            ends = [
                *range(12),
                *range(full.shape[1] - 12, full.shape[1]),
                *range(0, full.shape[1], EVERY),
            ]
            values[f"steps/{layer.name}"] = np.unique(ends)
            full = full[:, values[f"steps/{layer.name}"]]
        values[f"layer/{layer.name}"] = full
    logits = keras.Model(model.input, model.layers[-2].output)
    with tf.GradientTape() as tape:
        signal = tf.constant(x)
        tape.watch(signal)
        total = tf.reduce_sum(logits(signal, training=False)[:, 0])
    values["grad0/conv1d_input"] = tape.gradient(total, signal).numpy()
    return values


if __name__ == "__main__":
    {"prepare": prepare, "train": train}[sys.argv[1]](sys.argv[2])
