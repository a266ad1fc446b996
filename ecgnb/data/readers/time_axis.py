"""The sampling rate that a column of times tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ecgnb.errors import ReadError

#: Headings of a column of times, in lower case.
TIME_NAMES = ("time", "t", "seconds", "sec", "ms", "milliseconds", "elapsed time")

_IN_SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "milliseconds": 1e-3}
_LONGEST_STEP_S = 0.2  # a step above this, in a column without a unit, is in milliseconds
_ROUND_WITHIN = 5e-4  # times are written with few digits: a rate this near to a whole number is that number


def rate_of(times: np.ndarray, unit: str, path: Path) -> float:
    """Return the sampling rate in Hz of evenly spaced times.

    Args:
        times: ``[n_samples]`` in ``unit``.
        unit: ``"s"``, ``"ms"`` or one of their long names; anything else leaves it to the size of the steps.
        path: the file, for the message.

    Raises:
        ReadError: ``time``, when times are missing, do not rise, or leave gaps.

    >>> rate_of(np.arange(100) / 500, "s", Path("a.csv"))
    500.0
    """
    steps = np.diff(times)
    if len(steps) == 0 or not np.isfinite(steps).all() or (steps < 0).any() or times[-1] <= times[0]:
        raise ReadError("time", f"The times in {path} do not rise. Mend that column, or pass fs= in Hz.")
    step = (times[-1] - times[0]) / len(steps)
    if np.abs(steps - step).max() > 0.5 * step + _digit(times):
        worst = int(np.abs(steps - step).argmax())
        raise ReadError(
            "time", f"The times in {path} jump from {times[worst]:g} to {times[worst + 1]:g}. Split the file there."
        )
    seconds = _IN_SECONDS.get(unit.lower())
    if seconds is None:
        seconds = 1.0 if step < _LONGEST_STEP_S else 1e-3
    fs = float(1.0 / (step * seconds))
    return float(round(fs)) if abs(fs - round(fs)) <= _ROUND_WITHIN * fs else fs


def _digit(times: np.ndarray) -> float:
    """Return the size of the last decimal digit that the times are written with, up to six decimals."""
    for decimals in range(6):
        if np.allclose(times, times.round(decimals), rtol=0, atol=1e-9):
            return float(10.0**-decimals)
    return 0.0
