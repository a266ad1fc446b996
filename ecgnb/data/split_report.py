"""What is to be said about a division of records: sizes, classes, and what makes a result less sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

#: Names of the parts, in order.
PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Division:
    """Records and the part of each.

    Attributes:
        part: int64 ``[n]``, index into `PARTS`.
        groups: int64 ``[n]``, patient of each record.
        counts: int64 ``[n, n_classes + 1]``; the last column counts records without a class.
        classes: names of the classes; numbers where there are none.
        leaks: what `ecgnb.data.splits.find_leakage` found.
        unknown: bool ``[n]``, whether the patient is unknown.
    """

    part: np.ndarray
    groups: np.ndarray
    counts: np.ndarray
    classes: Sequence[str]
    leaks: pd.DataFrame
    unknown: np.ndarray

    @property
    def names(self) -> list[str]:
        """Names of the columns of ``counts``."""
        known = self.counts.shape[1] - 1
        return [*self.classes[:known], *(str(number) for number in range(len(self.classes), known)), "(none)"]


def warnings_about(division: Division) -> list[str]:
    """Name leaks, how many patients are unknown, classes that a part lacks and classes of too few patients."""
    warnings = []
    if len(division.leaks):
        warnings.append(
            f"{len(division.leaks)} patients, signals or twins stand in two parts of the official folds: "
            f"{examples(division.leaks)}. Results on the test part are too good; SPLIT 'stratified' keeps them whole."
        )
    if n_unknown := int(division.unknown.sum()):
        whose = "all" if division.unknown.all() else f"{n_unknown} of"
        warnings.append(
            f"The patient is unknown for {whose} {len(division.unknown)} recordings: leakage between recordings of one "
            "patient cannot be excluded there."
        )
    for column, name in enumerate(division.names[:-1]):
        having = division.counts[:, column] > 0
        if not having.any():
            continue
        n_groups = len(np.unique(division.groups[having]))
        if n_groups < len(PARTS):
            warnings.append(f"Class {name} has {n_groups} patients only, fewer than there are parts.")
        lacking = [PARTS[number] for number in range(len(PARTS)) if not having[division.part == number].any()]
        if lacking:
            warnings.append(f"Class {name} is missing in {' and '.join(lacking)}.")
    return warnings


def describe(division: Division) -> dict[str, Any]:
    """Count records, patients and classes of each part, as plain JSON."""
    masks = {name: division.part == number for number, name in enumerate(PARTS)}
    return {
        "records": {name: int(mask.sum()) for name, mask in masks.items()},
        "groups": {name: len(np.unique(division.groups[mask])) for name, mask in masks.items()},
        "classes": {
            name: dict(zip(division.names, division.counts[mask].sum(axis=0).tolist(), strict=True))
            for name, mask in masks.items()
        },
        "unknown_patients": int(division.unknown.sum()),
        "leakage": division.leaks.to_dict("records"),
    }


def examples(leaks: pd.DataFrame, count: int = 3) -> str:
    """Name the first few leaks in one line."""
    shown = [f"{case.kind} {case.key} in {case.parts}" for case in leaks.head(count).itertuples()]
    return "; ".join(shown) + (" ..." if len(leaks) > count else "")
