"""Lead names: one spelling, selection by name, limb leads derived from two others."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

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

_OTHER_LEADS = (
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
_SPELLING = {name.lower(): name for name in STANDARD_12 + _OTHER_LEADS}
for _number in range(1, 7):
    _SPELLING[f"mv{_number}"] = f"MV{_number}"  # modified chest leads, Holter recorders
    _SPELLING[f"c{_number}"] = f"V{_number}"  # European names of the chest leads
_SPELLING |= {"d1": "I", "d2": "II", "d3": "III"}  # Spanish and Portuguese: derivacion
_SPELLING |= {"di": "I", "dii": "II", "diii": "III"}
_PREFIX = re.compile(r"^(?:ecg|ekg|lead|derivation)[\s_\-:]+", re.IGNORECASE)


@functools.lru_cache(maxsize=4096)
def normalise_lead(name: str) -> str:
    """Return the standard spelling of a lead name; unknown names are only stripped.

    >>> names = ("avr", "Lead II", "ECG_V1", "DIII", "vx", " Resp ")
    >>> [normalise_lead(name) for name in names]
    ['aVR', 'II', 'V1', 'III', 'Vx', 'Resp']
    """
    stripped = name.strip()
    for spelling in (stripped, _PREFIX.sub("", stripped)):
        standard = _SPELLING.get(spelling.lower())
        if standard:
            return standard
    return stripped


def select_leads(
    signal: np.ndarray, have: Sequence[str], want: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Select leads by name; derive missing limb leads from two others.

    Args:
        signal: ``[..., len(have), n_samples]``, in any unit.
        have: names of the rows, in any spelling; of a name that occurs twice the first
            row is used.
        want: names of the selected leads, in any spelling and order.

    Returns:
        The signal ``[..., len(want), n_samples]`` (the array itself when nothing
        changes) and the names of the leads that are not available, whose rows are NaN.

    Raises:
        ReadError: ``leads``, when ``have`` does not name every row.

    >>> signal = np.array([[1.0], [3.0]])
    >>> selected, missing = select_leads(signal, ["i", "ii"], ["III", "II", "V1"])
    >>> selected[:, 0].tolist(), missing
    ([2.0, 3.0, nan], ('V1',))
    """
    if signal.shape[-2] != len(have):
        raise ReadError(
            "leads",
            f"The signal has {signal.shape[-2]} rows, but {len(have)} lead names.",
        )
    row_of = _rows_by_name(tuple(have))
    names = list(map(normalise_lead, want))
    rows = [row_of.get(name, -1) for name in names]
    if rows == list(range(len(have))):
        return signal, ()
    if -1 not in rows:
        return signal[..., rows, :], ()
    if signal.dtype.kind != "f":
        signal = signal.astype(np.float64)
    selected = signal[..., rows, :]  # rows -1 are overwritten below
    missing = []
    for index, name in enumerate(names):
        if rows[index] >= 0:
            continue
        derived: Any = _derive(signal, row_of, name)
        if derived is None:
            missing.append(name)
            derived = np.nan
        selected[..., index, :] = derived
    return selected, tuple(missing)


@functools.lru_cache(maxsize=1024)
def _rows_by_name(have: tuple[str, ...]) -> dict[str, int]:
    rows: dict[str, int] = {}
    for row, name in enumerate(have):
        rows.setdefault(normalise_lead(name), row)
    return rows


def _derive(signal: np.ndarray, row_of: dict[str, int], name: str) -> np.ndarray | None:
    """Return limb lead ``name`` from the first two available limb leads, or None."""
    available = [lead for lead in LIMB_LEADS if lead in row_of]
    if name not in LIMB_LEADS or len(available) < 2:
        return None
    first, second = available[:2]
    a, b = LIMB_LEADS[first]
    c, d = LIMB_LEADS[second]
    e, f = LIMB_LEADS[name]
    # Solve name = x * first + y * second (Cramer's rule): any two of the limb leads are
    # independent.
    determinant = a * d - b * c
    dtype = signal.dtype.type  # keeps float32
    x = dtype((e * d - f * c) / determinant)
    y = dtype((a * f - b * e) / determinant)
    first_lead = signal[..., row_of[first], :]
    second_lead = signal[..., row_of[second], :]
    return x * first_lead + y * second_lead
