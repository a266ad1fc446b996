"""One row of the table of benchmarks."""

from __future__ import annotations

from typing import Any


def row(
    name: str, ours: float, theirs: float | None, unit: str, target: str
) -> dict[str, Any]:
    """Return one row of the table; ``ratio`` is theirs divided by ours."""
    ratio = None if theirs is None else theirs / ours
    return {
        "name": name,
        "ours": ours,
        "theirs": theirs,
        "ratio": ratio,
        "unit": unit,
        "target": target,
    }
