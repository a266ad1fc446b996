"""`Recording`: sizes and text."""

from __future__ import annotations

import numpy as np

from ecgnb.data.recording import Recording


def test_sizes_and_text():
    recording = Recording(np.zeros((2, 750), np.float32), 500.0, ("I", "II"), "r1")
    assert (recording.n_leads, recording.n_samples, recording.duration) == (2, 750, 1.5)
    assert repr(recording) == "Recording('r1', 1.50 s at 500 Hz, leads I II)"
