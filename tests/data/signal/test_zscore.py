"""Z-score: numpy and torch give the same numbers, constant signals give 0."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ecgnb.data.signal.recording_filters import build_filters
from ecgnb.data.signal.zscore import zscore

FS = 500.0


def ecg(n_samples: int = 5000, leads: int = 2) -> np.ndarray:
    """Beats on a drifting line, float32 [leads, n_samples] in mV."""
    t = np.arange(n_samples) / FS
    beats = np.exp(-(((t % 0.8) - 0.4) ** 2) / 0.0004)
    noise = np.random.default_rng(0).normal(0, 0.02, (leads, n_samples))
    return (beats + 0.3 * np.sin(2 * np.pi * 0.1 * t) + 0.4 + noise).astype(np.float32)


def apply(name: str, signal: np.ndarray, fs: float = FS, **options) -> np.ndarray:
    return build_filters([{"name": name, **options}], fs)[0](signal, fs)


def test_filters_zscore_is_that_of_the_population_in_float64():
    x = ecg() * np.float32(0.01) + np.float32(
        400
    )  # an offset that float32 sums would drown in
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(axis=1, keepdims=True)) / np.sqrt(
        wide.var(axis=1, ddof=0, keepdims=True)
    )
    y = apply("zscore", x)
    np.testing.assert_allclose(y, expected, atol=5e-7)
    np.testing.assert_allclose(y.mean(axis=1, dtype=np.float64), 0.0, atol=1e-7)
    np.testing.assert_allclose(y.std(axis=1, dtype=np.float64), 1.0, atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.25, -4.5, 1e4])
def test_filters_zscore_makes_flat_leads_zero(level):
    x = ecg()
    x[1] = level
    x[1, 100] = np.nextafter(
        np.float32(level), np.float32(0)
    )  # a bit of rounding is no signal
    y = apply("zscore", x)
    assert not y[1].any() and y[0].std() == pytest.approx(1.0)


def test_zscore_of_numpy_and_torch_is_the_same():
    x = np.random.default_rng(0).normal(3.0, 0.2, (5, 12, 1001))
    scored = zscore(x, (-1,), 1001)
    np.testing.assert_allclose(scored.std(-1), 1.0, atol=1e-12)
    tensor = zscore(torch.from_numpy(x), (-1,), 1001)
    np.testing.assert_allclose(tensor.numpy(), scored, atol=1e-12)


def test_zscore_counts_valid_samples_only():
    x = np.array([[1.0, 2.0, 3.0, 6.0, 0.0, 0.0]])
    valid = np.array([[True] * 4 + [False] * 2])
    scored = zscore(x, (-1,), 4, valid)
    expected = np.array([-2.0, -1.0, 0.0, 3.0, 0.0, 0.0]) / np.sqrt(3.5)
    np.testing.assert_allclose(scored[0], expected, atol=1e-12)
