"""The bound of amplitudes: absolute for a right unit, relative for a wrong one."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ecgnb.core.errors import ReadError
from ecgnb.data.signal.amplitude import MAX_MV, check_amplitude


def wave(size: float) -> np.ndarray:
    """Return one lead of 2 s at 500 Hz with an amplitude of ``size`` mV."""
    return (size / 2 * np.sin(np.arange(1000) / 10)).astype(np.float32)[None]


@pytest.mark.parametrize(
    ("size", "spike", "is_used"),
    [
        (1.0, MAX_MV, True),
        (1.0, 1.01 * MAX_MV, False),
        (1000.0, 49_000.0, True),  # microvolts: the bound is 1000 mV * 1000 / 20
        (1000.0, 51_000.0, False),
        (1e6, 1.6e7, True),  # nanovolts, or a 24-bit converter
        (1e6, 1.7e7, False),
    ],
)
def test_the_bound_grows_with_the_amplitude_of_the_recording(size, spike, is_used):
    signal = wave(size)
    signal[0, 700] = spike
    if is_used:
        flag = check_amplitude(signal, 500, ("I",))
        assert flag == ("" if spike <= MAX_MV else f"amplitude:{spike:.3g} mV")
        return
    with pytest.raises(ReadError, match=re.escape(f"{spike:g} mV at 3.400 s")):
        check_amplitude(signal, 500, ("I",), first=1000)
