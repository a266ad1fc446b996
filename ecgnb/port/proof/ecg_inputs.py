"""Inputs on which a comparison can tell something: ECGs, not noise.

Uniform noise drives many networks to where all units of a layer are saturated; then a
flipped kernel changes neither the output nor the gradient.
"""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from ecgnb.data.demo.synthesise import synthesise
from ecgnb.port.ported import PortedModel, major
from ecgnb.port.reading.graph import parse_graph

#: Samples of an input whose length the model leaves free.
FREE_LENGTH = 1000
#: Shorter inputs get the ECG at a lower rate, so that a whole beat is in them (500 Hz,
#: 75 beats a minute).
BEAT_SAMPLES = 400
#: Every other sample is turned upside down and enlarged: ReLUs that the plain ECGs
#: leave shut hide wrong weights.
STRETCH = -3.0


def ecg_like_inputs(
    port: PortedModel, seed: int = 0, batch: int = 4
) -> dict[str, np.ndarray]:
    """Make inputs for a port: synthetic ECGs in mV (`ecgnb.data.demo.synthesise`), each
    sample another patient.

    Every other one is turned upside down and three times as large.

    Args:
        port: whose inputs to make.
        seed: which patients.
        batch: number of samples.

    Returns:
        For each input ``[batch, T, C]`` float32, in Keras' layout whatever the port's:
        lead k in channel k, beginning anew after twelve. Inputs without a time axis are
        normally distributed, integers below the smallest table of an `nn.Embedding`.
    """
    rng = np.random.default_rng(seed)
    tables = [
        module.num_embeddings
        for module in port.modules()
        if isinstance(module, nn.Embedding)
    ]
    layers = parse_graph(port.origin.config, major(port.origin.keras_version)).layers
    made = {}
    for name, shape in port.origin.inputs.items():
        sizes = [batch, *(FREE_LENGTH if size is None else size for size in shape[1:])]
        if str(layers[name].config.get("dtype", "float32")).startswith(("int", "uint")):
            made[name] = rng.integers(0, min(tables, default=2), sizes).astype(np.int32)
        elif len(sizes) == 2:
            made[name] = rng.standard_normal(sizes).astype(np.float32)
        else:
            gains = np.where(np.arange(batch) % 2, STRETCH, 1.0).astype(np.float32)
            ecgs = [
                gain * _ecg(seed * batch + sample, sizes[1:])
                for sample, gain in enumerate(gains)
            ]
            made[name] = np.stack(ecgs)
    return made


def _ecg(number: int, shape: list[int]) -> np.ndarray:
    """Return one recording as ``[..., T, C]``: axes before time are stretches one after
    the other.
    """
    channels, length = shape[-1], math.prod(shape[:-1])
    signal = synthesise(number).signal
    step = max(1, BEAT_SAMPLES // length)
    places = np.arange(length) * step % signal.shape[1]
    leads = np.arange(channels) % len(signal)
    return np.ascontiguousarray(
        signal[leads][:, places].T.reshape(shape), dtype=np.float32
    )
