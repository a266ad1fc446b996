"""Report of splits: records, patients and classes of each part, warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ecgnb.core.errors import first_few
from ecgnb.data.cell_text import patient_ids
from ecgnb.data.splits.leakage import describe_leaks, unknown_patients

#: A patient with a larger share of the records is probably a word for "unknown".
LARGEST_PATIENT = 0.5
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
    warnings += _patient_warnings(records[~unknown])
    n_records = counts.sum(axis=0)  # of each class; the last column has no class
    never = [name for column, name in enumerate(names) if n_records[column] == 0]
    if never:
        warnings.append(
            f"No recording has the label {first_few(never)}: such an output learns "
            "nothing. Give the classes that occur with LABEL_ORDER."
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


def _patient_warnings(records: pd.DataFrame) -> list[str]:
    """Warn of a patient with most of the records whose patient is known."""
    keys = records["dataset"].astype(str) + ":" + patient_ids(records["patient_id"])
    shares = keys.value_counts(normalize=True)
    if shares.empty or shares.iloc[0] <= LARGEST_PATIENT or len(keys) <= len(PARTS):
        return []
    return [
        f"{shares.iloc[0]:.0%} of the recordings are of the patient "
        f"{shares.index[0]!r}, and all in one part. If this is a word for an unknown "
        "patient, leave these cells of the label file empty."
    ]


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
    missing = [part for number, part in enumerate(PARTS) if number not in present]
    if missing:
        listed = " and ".join(missing)
        advice = " Its output learns nothing." if "train" in missing else ""
        warnings.append(f"Class {name} is missing in {listed}.{advice}")
    return warnings
