"""Encoding: quantisation error at every amplitude, hash of a signal."""

from __future__ import annotations

import numpy as np
import pytest

from ecgnb.core.errors import ReadError
from ecgnb.data.store.encoding import quantise, signal_hash


@pytest.mark.parametrize("dtype", ["int16", "float16"])
@pytest.mark.parametrize("size", [1e-29, 1e-20, 1e-6, 1e-4, 1.0, 4000.0, 3e6, 1e37])
def test_quantisation_error_is_small_at_every_amplitude(dtype, size):
    signal = (size * np.random.default_rng(0).normal(size=(4, 1000))).astype(np.float32)
    signal[3] = 0
    out = np.empty(signal.shape, dtype=dtype)
    scale = quantise(signal, out)
    assert np.isfinite(out).all()
    back = out * scale[:, None]
    peak = np.abs(signal).max()
    tolerance = peak / 32767 * 0.51 if dtype == "int16" else peak * 2**-11
    assert np.abs(back - signal).max() <= tolerance
    assert not out[3].any()


def test_the_hash_does_not_depend_on_a_gain_but_on_noise():
    signal = np.random.default_rng(1).normal(size=(2, 500)).astype(np.float32)
    out = np.empty(signal.shape, dtype=np.int16)

    def hash_of(changed: np.ndarray) -> str:
        quantise(changed, out)
        return signal_hash(out)

    assert hash_of(signal) == hash_of(signal * 4)
    assert hash_of(signal) != hash_of(signal + np.float32(0.01) * signal[::-1])


@pytest.mark.parametrize("dtype", ["int16", "float16"])
@pytest.mark.parametrize("size", [1e-42, 1e-38, np.nan, np.inf])
def test_a_lead_that_would_lose_its_precision_is_refused(dtype, size):
    signal = np.ones((2, 100), dtype=np.float32)
    signal[1, ::2] = size
    signal[1, 1::2] = 0
    with pytest.raises(
        ReadError, match=f"row 1 of the signal is {np.float32(size):g} mV"
    ):
        quantise(signal, np.empty(signal.shape, dtype=dtype))
