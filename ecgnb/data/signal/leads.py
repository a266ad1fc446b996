"""Lead names: one spelling, picking by name, and limb leads derived from two others."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import numpy as np

from ecgnb.core.errors import ReadError

#: The twelve standard leads in their usual order.
STANDARD_12 = (
    "I",
    "II",
    "III",
    "aVR",
    "aVL",
    "aVF",
    "V1",
    "V2",
    "V3",
    "V4",
    "V5",
    "V6",
)

#: Each limb lead as (a, b) of a * I + b * II: Einthoven 1912 (III = II - I) and
#: Goldberger 1942 (the augmented leads).
LIMB_LEADS = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}

_FURTHER = (
    "V7",
    "V8",
    "V9",
    "V3R",
    "V4R",
    "V5R",
    "V6R",
    "Vx",
    "Vy",
    "Vz",
    "MLI",
    "MLII",
    "MLIII",
    "ECG",
)
_SPELLING = {name.lower(): name for name in STANDARD_12 + _FURTHER}
_SPELLING |= {
    f"mv{number}": f"MV{number}" for number in range(1, 7)
}  # modified chest leads of Holter recorders
_SPELLING |= {
    f"c{number}": f"V{number}" for number in range(1, 7)
}  # European names of the chest leads
_SPELLING |= {
    "d1": "I",
    "d2": "II",
    "d3": "III",
    "di": "I",
    "dii": "II",
    "diii": "III",
}  # Spanish and Portuguese
_PREFIX = re.compile(r"^(?:ecg|ekg|lead|derivation)[\s_\-:]+", re.IGNORECASE)


@functools.lru_cache(maxsize=4096)
def normalise_lead(name: str) -> str:
    """Return a lead name in the house's spelling; a name that is not known stays as
    written, stripped.

    >>> [normalise_lead(name) for name in ("avr", "Lead II", "ECG_V1", "DIII", "vx", " Resp ")]
    ['aVR', 'II', 'V1', 'III', 'Vx', 'Resp']
    """
    stripped = name.strip()
    known = _SPELLING.get(stripped.lower())
    if known is None:
        known = _SPELLING.get(_PREFIX.sub("", stripped).lower(), stripped)
    return known


def select_leads(
    signal: np.ndarray, have: Sequence[str], want: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pick leads by name, and derive limb leads that are missing from two that are
    there.

    Args:
        signal: ``[..., len(have), n_samples]``, in any unit.
        have: names of the rows, in any spelling; of a name that occurs twice the first
            row counts.
        want: names wanted, in any spelling and order.

    Returns:
        The signal ``[..., len(want), n_samples]`` (the array itself where nothing
        changes) and the names of the wanted leads that cannot be had, whose rows are
        NaN.

    Raises:
        ReadError: ``leads``, when ``have`` does not name every row.

    >>> signal, missing = select_leads(np.array([[1.0], [3.0]]), ["i", "ii"], ["III", "II", "V1"])
    >>> signal[:, 0].tolist(), missing
    ([2.0, 3.0, nan], ('V1',))
    """
    if signal.shape[-2] != len(have):
        raise ReadError(
            "leads",
            f"The signal has {signal.shape[-2]} rows, but {len(have)} lead names were given.",
        )
    row_of = _rows_by_name(tuple(have))
    wanted = [normalise_lead(name) for name in want]
    rows = [row_of.get(name, -1) for name in wanted]
    if -1 not in rows:
        same = rows == list(range(len(have)))
        return (signal if same else signal[..., rows, :]), ()
    floating = signal if signal.dtype.kind == "f" else signal.astype(np.float64)
    picked = floating[..., rows, :]  # row -1 is a placeholder that is overwritten below
    missing = []
    for index, name in enumerate(wanted):
        if rows[index] >= 0:
            continue
        derived = _derive(floating, row_of, name)
        picked[..., index, :] = np.nan if derived is None else derived
        if derived is None:
            missing.append(name)
    return picked, tuple(missing)


@functools.lru_cache(maxsize=1024)
def _rows_by_name(have: tuple[str, ...]) -> dict[str, int]:
    rows: dict[str, int] = {}
    for row, name in enumerate(have):
        rows.setdefault(normalise_lead(name), row)
    return rows


def _derive(signal: np.ndarray, row_of: dict[str, int], name: str) -> np.ndarray | None:
    """Return limb lead ``name`` from the first two limb leads that are there, or
    None.
    """
    present = [lead for lead in LIMB_LEADS if lead in row_of]
    if name not in LIMB_LEADS or len(present) < 2:
        return None
    first, second = present[:2]
    weight_1, weight_2 = _weights(name, first, second)
    dtype = signal.dtype.type
    return (
        dtype(weight_1) * signal[..., row_of[first], :]
        + dtype(weight_2) * signal[..., row_of[second], :]
    )


def _weights(name: str, first: str, second: str) -> tuple[float, float]:
    """Solve name = x * first + y * second; any two of the six limb leads are
    independent.
    """
    (a, b), (c, d), (e, f) = LIMB_LEADS[first], LIMB_LEADS[second], LIMB_LEADS[name]
    determinant = a * d - b * c
    return (e * d - f * c) / determinant, (a * f - b * e) / determinant
