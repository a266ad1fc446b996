"""Arrays that came without a format of their own: which axis is time, and what are the numbers?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgnb.data.leads import STANDARD_12
from ecgnb.data.readers.units import require_voltage, scale_to_mv
from ecgnb.errors import ReadError


def orient(values: np.ndarray, leads: Sequence[str] | None, path: Path) -> np.ndarray:
    """Turn an array so that its rows are the leads.

    The axis as long as there are names is that of the leads; without names, one of 12 entries, else one of a single
    entry. Where both axes or none would do, the array is taken as ``[n_leads, n_samples]``.

    Returns:
        The array ``[n_leads, n_samples]``, a view.

    Raises:
        ReadError: ``shape``, unless the array has one or two axes with something in them; ``text``, unless it
            holds real numbers.
    """
    if values.dtype.kind not in "iuf":
        raise ReadError("text", f"{path} holds {values.dtype} where real numbers should be.")
    if values.ndim == 1:
        values = values[None, :]
    if values.ndim != 2:
        raise ReadError(
            "shape", f"{path} holds an array of shape {values.shape}. Save it as [n_leads, n_samples], a record a file."
        )
    if values.size == 0:
        raise ReadError("empty", f"{path} holds an array of shape {values.shape}, without samples.")
    likely = (len(leads),) if leads is not None else (len(STANDARD_12), 1)
    count = next((count for count in likely if count in values.shape), len(values))
    return values if len(values) == count else values.T


def array_to_mv(values: np.ndarray, units: str, path: Path) -> np.ndarray:
    """Convert numbers in ``units`` to float32 mV, C-contiguous; by float64, so that nothing is rounded twice."""
    factor = require_voltage(units, str(path))
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and its amplitude is flagged
        if factor == 1.0:
            return np.array(values, dtype=np.float32, order="C")
        return scale_to_mv(np.array(values, dtype=np.float64, order="C"), factor).astype(np.float32)
