"""Report of splits: records, patients and classes of each part, warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ecgnb.data.splits.leakage import describe_leaks, unknown_patients

#: Names of the parts, in order.
PARTS = ("train", "valid", "test")


def split_report(
    records: pd.DataFrame,
    part: np.ndarray,
    groups: np.ndarray,
    counts: np.ndarray,
    classes: Sequence[str],
    leaks: pd.DataFrame,
) -> dict[str, Any]:
    """Count records, patients and classes of each part; warn of what weakens a result.

    Args:
        records: rows of a store's ``records``.
        part: int64 ``[n]``, index into `PARTS` of each record.
        groups: int64 ``[n]``, patient of each record.
        counts: int64 ``[n, n_classes + 1]``; the last column counts records without a
            class.
        classes: names of the classes; missing names are numbers.
        leaks: from `ecgnb.data.splits.leakage.find_leakage`.

    Returns:
        Plain JSON values.
    """
    unknown = unknown_patients(records)
    n_classes = counts.shape[1] - 1
    names = list(classes[:n_classes])
    for number in range(len(names), n_classes):
        names.append(str(number))
    columns = [*names, "(none)"]
    report: dict[str, Any] = {
        "records": {},
        "groups": {},
        "classes": {},
    }
    for number, name in enumerate(PARTS):
        in_part = part == number
        totals = counts[in_part].sum(axis=0).tolist()
        report["records"][name] = int(in_part.sum())
        report["groups"][name] = len(np.unique(groups[in_part]))
        report["classes"][name] = dict(zip(columns, totals, strict=True))
    warnings = []
    if len(leaks):
        warnings.append(
            f"Leakage in the official folds: {describe_leaks(leaks)}. Results on the "
            "test part are too good; SPLIT 'stratified' keeps them in one part."
        )
    if unknown.any():
        how_many = f"{unknown.sum()} of {len(unknown)}"
        if unknown.all():
            how_many = f"all {len(unknown)}"
        warnings.append(
            f"The patient is unknown for {how_many} recordings: "
            "leakage between recordings of one patient cannot be excluded there."
        )
    for column, name in enumerate(names):
        has_class = counts[:, column] > 0
        warnings += _class_warnings(name, has_class, part, groups)
    return {
        **report,
        "unknown_patients": int(unknown.sum()),
        "leakage": leaks.to_dict("records"),
        "warnings": warnings,
    }


def _class_warnings(
    name: str,
    has_class: np.ndarray,
    part: np.ndarray,
    groups: np.ndarray,
) -> list[str]:
    """Warn of a class with few patients, and of one that is missing in a part."""
    if not has_class.any():
        return []
    warnings = []
    n_groups = len(np.unique(groups[has_class]))
    if n_groups < len(PARTS):
        warnings.append(
            f"Class {name} has only {n_groups} patients, fewer than there are parts."
        )
    present = part[has_class]
    missing = [name for number, name in enumerate(PARTS) if number not in present]
    if missing:
        listed = " and ".join(missing)
        warnings.append(f"Class {name} is missing in {listed}.")
    return warnings
