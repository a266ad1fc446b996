"""Measurements on recordings of the demo cohort: leads, intervals, beats."""

from __future__ import annotations

import numpy as np

from ecgnb.data.demo.patients import DemoConfig
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12

CLEAN = DemoConfig(noise=0.0)


def lead(recording: Recording, name: str) -> np.ndarray:
    """One lead in mV, its PQ level at zero."""
    return recording.signal[STANDARD_12.index(name)].astype(np.float64)


def rr(recording: Recording) -> np.ndarray:
    return np.diff(recording.metadata["beats"]) / recording.fs


def rate(recording: Recording) -> float:
    return float(60 / rr(recording).mean())


def beats_of(
    recording: Recording, name: str, before: float, after: float
) -> np.ndarray:
    """Windows around sinus beats ``[n, samples]``, the sample before the QRS complex at
    zero."""
    signal, windows = lead(recording, name), []
    for (start, _), ectopic in zip(
        recording.metadata["waves"]["QRS"], recording.metadata["ectopic"], strict=True
    ):
        first, last = (
            start - round(before * recording.fs),
            start + round(after * recording.fs),
        )
        if not ectopic and first >= 0 and last < len(signal):
            windows.append(signal[first:last] - signal[start])
    return np.array(windows)


def qrs_duration(recording: Recording) -> float:
    """Median time in s during which the leads move fast around a sinus beat; knows
    nothing of the generator."""
    speed = np.linalg.norm(
        np.gradient(
            recording.signal[[0, 1, 6, 7, 8, 9, 10, 11]].astype(np.float64), axis=1
        ),
        axis=0,
    )
    durations = []
    half, gap = round(0.16 * recording.fs), round(0.024 * recording.fs)
    for peak, ectopic in zip(
        recording.metadata["beats"], recording.metadata["ectopic"], strict=True
    ):
        if ectopic or not half <= peak < len(speed) - half:
            continue
        window = speed[peak - half : peak + half]
        # Runs of speed with no pause longer than 24 ms; P and T waves are slower or lie
        # apart.
        fast = np.flatnonzero(window > 0.12 * window.max())
        runs = np.split(fast, np.flatnonzero(np.diff(fast) > gap) + 1)
        run = next(run for run in runs if run[0] <= np.argmax(window) <= run[-1])
        durations.append((run[-1] - run[0]) / recording.fs)
    return float(np.median(durations))


def share(recordings: list[Recording], test) -> float:
    return float(np.mean([bool(test(recording)) for recording in recordings]))
