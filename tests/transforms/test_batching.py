"""Batches of signals: any memory layout is read, what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest

from ecgnb.core.errors import ConfigError
from ecgnb.transforms.augment import GaussianNoise
from ecgnb.transforms.pipeline import Pipeline
from ecgnb.transforms.preprocess import ZScore


def signals(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0.1, 0.5, shape).astype(np.float32)


def test_signals_masks_and_keys_that_do_not_fit_are_refused():
    pipeline = Pipeline([GaussianNoise()])
    with pytest.raises(ConfigError, match="needs keys"):
        pipeline(signals(2, 3, 10))
    with pytest.raises(ConfigError, match="3 keys for 2 records"):
        pipeline(signals(2, 3, 10), keys=[1, 2, 3])
    with pytest.raises(ConfigError, match=r"mask has shape \(2, 9\).*needs \(2, 10\)"):
        pipeline(signals(2, 3, 10), keys=[1, 2], mask=np.ones((2, 9), bool))
    with pytest.raises(ConfigError, match="int16"):
        pipeline(np.zeros((2, 3, 10), np.int16), keys=[1, 2])
    with pytest.raises(ConfigError, match="n_leads, n_samples"):
        pipeline(np.zeros(10, np.float32), keys=[1])


def test_a_memory_map_with_reversed_leads_is_transformed(tmp_path):
    path = tmp_path / "signals.npy"
    np.save(path, signals(2, 3, 100))
    mapped = np.load(path, mmap_mode="r")
    np.testing.assert_array_equal(
        ZScore()(mapped[:, ::-1]), ZScore()(np.array(mapped[:, ::-1]))
    )
