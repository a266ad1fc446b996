"""Noise of the demo recordings has the amplitude of real recordings."""

from __future__ import annotations

import numpy as np
from demo_signals import CLEAN

from ecgnb.data.demo.synthesise import synthesise


def test_noise_is_of_the_size_of_real_recordings():
    spread, wander = [], []
    for index in range(40):
        noise = synthesise(index).signal - synthesise(index, CLEAN).signal
        spread.append(np.median(np.abs(np.diff(noise, axis=1))))
        slow = noise.reshape(12, 20, 250).mean(axis=2)
        wander.append(np.median(slow.std(axis=1)))
    assert 0.0005 < np.median(spread) < 0.02
    assert 0.01 < np.median(wander) < 0.1
