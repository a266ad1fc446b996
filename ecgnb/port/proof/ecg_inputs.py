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

#: Samples of an input whose length the model leaves free.
FREE_LENGTH = 1000
#: Shorter inputs get the ECG at a lower rate, so that they contain a whole beat (500
#: Hz, 75 beats a minute).
BEAT_SAMPLES = 400
#: Factor of every other sample: ReLUs that plain ECGs leave shut hide wrong weights.
OTHER_GAIN = -3.0


def ecg_like_inputs(
    port: PortedModel, seed: int = 0, batch: int = 4
) -> dict[str, np.ndarray]:
    """Make inputs for a port: synthetic ECGs in mV (`ecgnb.data.demo.synthesise`), one
    patient per sample.

    Every other sample is multiplied by -3.

    Args:
        port: model that the inputs are for.
        seed: of the patients.
        batch: number of samples.

    Returns:
        For each input ``[batch, T, C]`` float32, in Keras' layout whatever the port's:
        lead k in channel k, repeating after twelve. Inputs without a time axis are
        normally distributed, integers below the smallest table of an `nn.Embedding`.
    """
    rng = np.random.default_rng(seed)
    embeddings = [x for x in port.modules() if isinstance(x, nn.Embedding)]
    n_tokens = min((x.num_embeddings for x in embeddings), default=2)
    layers = parse_graph(port.origin.config, major(port.origin.keras_version)).layers
    inputs: dict[str, np.ndarray] = {}
    for name, shape in port.origin.inputs.items():
        sizes = [FREE_LENGTH if size is None else size for size in shape[1:]]
        dtype = str(layers[name].config.get("dtype", "float32"))
        if dtype.startswith(("int", "uint")):
            tokens = rng.integers(0, n_tokens, [batch, *sizes])
            inputs[name] = tokens.astype(np.int32)
        elif len(sizes) == 1:
            values = rng.standard_normal([batch, *sizes])
            inputs[name] = values.astype(np.float32)
        else:
            ecgs = [_ecg(seed * batch + sample, sizes) for sample in range(batch)]
            inputs[name] = np.stack(ecgs)
            inputs[name][1::2] *= np.float32(OTHER_GAIN)
    return inputs


def _ecg(number: int, shape: list[int]) -> np.ndarray:
    """Return one recording as ``[..., T, C]``; axes before time split the signal into
    consecutive segments.
    """
    n_channels, length = shape[-1], math.prod(shape[:-1])
    signal = synthesise(number).signal
    step = max(1, BEAT_SAMPLES // length)
    samples = np.arange(length) * step % signal.shape[1]
    leads = np.arange(n_channels) % len(signal)
    values = signal[leads][:, samples].T.reshape(shape)
    return np.ascontiguousarray(values, dtype=np.float32)
