"""Units of voltage and their way to millivolts."""

from __future__ import annotations

import functools

import numpy as np

from ecgnb.errors import ReadError

#: Millivolts in one unit, by the unit's name in lower case with the micro sign as u.
_MV_IN = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "nv": 1e-6}
_LONG = {"volt": "v", "millivolt": "mv", "microvolt": "uv", "nanovolt": "nv"}
_MICRO = str.maketrans({"\u00b5": "u", "\u03bc": "u"})  # the micro sign and the Greek letter mu


@functools.lru_cache(maxsize=1024)
def mv_per_unit(units: str) -> float | None:
    """Return how many millivolts one ``units`` is, or None when it is no unit of voltage.

    The case does not matter: nobody measures an electrocardiogram in megavolts.

    >>> mv_per_unit("µV"), mv_per_unit("mv"), mv_per_unit("mmHg")
    (0.001, 1.0, None)
    """
    name = units.strip().translate(_MICRO).lower()
    name = _LONG.get(name.removesuffix("s"), name)
    return _MV_IN.get(name)


def require_voltage(units: str, what: str) -> float:
    """Return `mv_per_unit`; a unit that is not of voltage is a `ReadError` with the reason ``units``."""
    factor = mv_per_unit(units)
    if factor is None:
        raise ReadError(
            "units",
            f"{what} is in {units!r}, which is no unit of voltage (V, mV, uV or nV). "
            "If the file's word is wrong, pass the true unit, as in units='uV'.",
        )
    return factor


def scale_to_mv(values: np.ndarray, factor: float) -> np.ndarray:
    """Multiply float64 ``values`` by `mv_per_unit` in place, dividing where that rounds less, and return them."""
    if factor < 1.0:
        np.divide(values, round(1.0 / factor), out=values)
    elif factor > 1.0:
        np.multiply(values, factor, out=values)
    return values
