"""The row of a measurement."""

from __future__ import annotations

from typing import Any


def row(
    name: str, ours: float, theirs: float | None, unit: str, target: str
) -> dict[str, Any]:
    """Return one line of the table; ``ratio`` says how many times less ours is than
    theirs.
    """
    ratio = None if theirs is None else theirs / ours
    return {
        "name": name,
        "ours": ours,
        "theirs": theirs,
        "ratio": ratio,
        "unit": unit,
        "target": target,
    }
