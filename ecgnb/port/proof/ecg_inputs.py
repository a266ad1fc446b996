"""Synthetic ECGs as inputs of a comparison.

Uniform noise saturates all units of a layer in many networks; then a wrong kernel
changes neither the output nor the gradient.
"""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from ecgnb.data.demo.synthesise import synthesise
from ecgnb.port.ported import PortedModel, major
from ecgnb.port.reading.graph import parse_graph

#: Recordings in one input.
BATCH = 4
#: Samples of an input whose length the model leaves free.
FREE_LENGTH = 1000
#: Shorter inputs get the ECG at a lower rate, so that they contain a whole beat (500
#: Hz, 75 beats a minute).
BEAT_SAMPLES = 400
#: Factor of every other sample: ReLUs that plain ECGs leave shut hide wrong weights.
OTHER_GAIN = -3.0


def ecg_like_inputs(port: PortedModel, seed: int = 0) -> dict[str, np.ndarray]:
    """Make inputs for a port: synthetic ECGs in mV (`ecgnb.data.demo.synthesise`), one
    patient per sample.

    Every other sample is multiplied by -3.

    Args:
        port: model that the inputs are for.
        seed: of the patients.

    Returns:
        For each input ``[4, T, C]`` float32, in Keras' layout whatever the port's: lead
        k in channel k, repeating after twelve. Inputs without a time axis are normally
        distributed, integers below the smallest table of an `nn.Embedding`.
    """
    rng = np.random.default_rng(seed)
    n_tokens = _vocabulary_size(port)
    origin = port.origin
    layers = parse_graph(origin.config, major(origin.keras_version)).layers
    inputs: dict[str, np.ndarray] = {}
    for name, shape in origin.inputs.items():
        sizes = [FREE_LENGTH if size is None else size for size in shape[1:]]
        dtype = str(layers[name].config.get("dtype", "float32"))
        if dtype.startswith(("int", "uint")):
            tokens = rng.integers(0, n_tokens, [BATCH, *sizes])
            inputs[name] = tokens.astype(np.int32)
        elif len(sizes) == 1:  # features of a patient, such as age
            values = rng.standard_normal([BATCH, *sizes])
            inputs[name] = values.astype(np.float32)
        else:
            first = seed * BATCH
            ecgs = [_ecg(first + sample, sizes) for sample in range(BATCH)]
            inputs[name] = np.stack(ecgs)
            inputs[name][1::2] *= np.float32(OTHER_GAIN)
    return inputs


def _vocabulary_size(port: PortedModel) -> int:
    """Return the number of tokens that every embedding of a port knows."""
    sizes = [
        module.num_embeddings
        for module in port.modules()
        if isinstance(module, nn.Embedding)
    ]
    return min(sizes, default=2)


def _ecg(number: int, shape: list[int]) -> np.ndarray:
    """Return one recording as ``[..., T, C]``; axes before time split the signal into
    consecutive segments.
    """
    *times, n_channels = shape
    length = math.prod(times)
    signal = synthesise(number).signal  # [12, samples]
    step = max(1, BEAT_SAMPLES // length)
    samples = np.arange(length) * step
    samples %= signal.shape[1]  # a longer input gets the recording again
    leads = np.arange(n_channels) % len(signal)
    values = signal[leads][:, samples].T  # [length, C]
    return np.ascontiguousarray(values.reshape(shape), dtype=np.float32)
