"""Make, write and read training, validation and test splits, grouped by patient."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgnb.core import files
from ecgnb.core.errors import SplitError
from ecgnb.core.transient import refuse_transient
from ecgnb.data.config import SplitConfig
from ecgnb.data.loading.sampler import class_counts
from ecgnb.data.splits.leakage import describe_leaks, find_leakage, record_groups
from ecgnb.data.splits.split_report import PARTS, split_report
from ecgnb.data.splits.stratify import assign_groups

TRAIN, VALID, TEST = range(len(PARTS))


@dataclass(frozen=True, eq=False)
class Splits:
    """Store rows of the three parts, each int64 and ascending.

    Attributes:
        train: rows to learn from.
        valid: rows to choose the best epoch, thresholds and temperature with.
        test: rows for the final evaluation.
        report: plain JSON of `ecgnb.data.splits.split_report`, with the configuration.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The three parts by name."""
        return {
            "train": self.train,
            "valid": self.valid,
            "test": self.test,
        }


def make_splits(
    records: pd.DataFrame,
    targets: np.ndarray,
    config: SplitConfig,
    classes: Sequence[str] = (),
) -> Splits:
    """Divide the records into training, validation and test.

    Except with official folds, all records of a patient, all copies of a signal and the
    two rates of a recording are in the same part. Where the patient is unknown that
    cannot be ensured; a warning in the report has the number.

    Args:
        records: rows of a store's ``records`` (row, dataset, record_id, patient_id,
            fold, signal_hash).
        targets: int64 ``[n]`` class numbers or {0, 1} ``[n, n_classes]``, in the same
            order.
        config: how to divide them.
        classes: names of the classes, for the report.

    Raises:
        SplitError: too few patients or folds, or lengths that do not agree.
    """
    if len(records) != len(targets):
        raise SplitError(
            f"There are {len(records)} records but {len(targets)} targets: use one "
            "target per record."
        )
    groups = record_groups(records)
    counts = class_counts(targets)
    warnings: list[str] = []
    if config.split == "official":
        part, warnings = _official(records["fold"], config)
    else:
        part = _grouped(counts, groups, config)
    rows = records["row"].to_numpy(dtype=np.int64)
    rows_of_part = {}
    for number, name in enumerate(PARTS):
        rows_of_part[name] = np.sort(rows[part == number])
    leaks = find_leakage(records, rows_of_part)
    if len(leaks) and config.split != "official":
        raise SplitError(f"Leakage: {describe_leaks(leaks)}.")
    report = split_report(records, part, groups, counts, classes, leaks)
    report["warnings"] = warnings + report["warnings"]
    settings = {"config": dataclasses.asdict(config)}
    return Splits(**rows_of_part, report=settings | report)


def _grouped(counts: np.ndarray, groups: np.ndarray, config: SplitConfig) -> np.ndarray:
    """Return the part of each record, int64 ``[n]``; groups stay in one part."""
    kfold = config.split == "kfold"
    valid, test = config.valid_fraction, config.test_fraction
    fractions = np.array([1 - valid - test, valid, test])  # as in PARTS
    advice = "Use more recordings"
    if kfold:
        fractions = np.full(config.n_folds, 1 / config.n_folds)
        advice += " or fewer folds (N_FOLDS)"
    n_groups = groups.max(initial=-1) + 1
    if n_groups < len(fractions):
        raise SplitError(
            f"{len(groups)} records of {n_groups} patients cannot be divided into "
            f"{len(fractions)} parts without dividing the records of a patient. "
            f"{advice}."
        )
    assigned = assign_groups(
        counts,
        groups,
        fractions,
        config.split_seed,
        at_least_one=not kfold,
    )
    part = assigned[groups]
    if not kfold:
        return part
    is_test = part == config.test_fold % config.n_folds
    return _nested_validation(counts, groups, is_test, config)


def _nested_validation(
    counts: np.ndarray, groups: np.ndarray, is_test: np.ndarray, config: SplitConfig
) -> np.ndarray:
    """Return the part of each record: the validation is VALID_FRACTION of the records
    outside the test fold, so that a whole fold is not lost to it.
    """
    rest = ~is_test
    _, rest_groups = np.unique(groups[rest], return_inverse=True)
    fractions = np.array([1 - config.valid_fraction, config.valid_fraction])
    assigned = assign_groups(counts[rest], rest_groups, fractions, config.split_seed)
    part = np.full(len(groups), TEST)
    part[rest] = assigned[rest_groups]  # 0 is TRAIN, 1 is VALID
    return part


def _official(fold: pd.Series, config: SplitConfig) -> tuple[np.ndarray, list[str]]:
    """Return the part of each record by the data set's folds, and warnings."""
    folds = fold.astype("float64").to_numpy(na_value=np.nan)
    has_fold = ~np.isnan(folds)
    present = np.unique(folds[has_fold]).astype(int).tolist()
    if len(present) < 3:
        raise SplitError(
            f"The records have {len(present)} official folds {present}; three are "
            "needed. Set SPLIT to 'stratified'."
        )
    test_fold = config.test_fold
    if test_fold < 0:
        test_fold = present[-1]
    if test_fold not in present:
        raise SplitError(
            f"TEST_FOLD is {test_fold}, but the official folds are {present}. Choose "
            "one of them."
        )
    valid_fold = present[present.index(test_fold) - 1]
    warnings = [
        f"Official folds: {test_fold} is the test, {valid_fold} validates, the others "
        "train."
    ]
    absent = set(range(1, config.n_folds + 1)) - set(present)
    if absent:
        listed = ", ".join(map(str, sorted(absent)))
        warnings.append(
            f"There are no records of folds {listed}: results "
            "cannot be compared with published ones on the usual test fold."
        )
    if not has_fold.all():
        n_without = np.count_nonzero(~has_fold)
        warnings.append(f"{n_without} records have no official fold; they train.")
    return _parts_of_folds(folds, valid_fold, test_fold), warnings


def _parts_of_folds(folds: np.ndarray, valid_fold: int, test_fold: int) -> np.ndarray:
    part = np.full(len(folds), TRAIN)
    part[folds == valid_fold] = VALID
    part[folds == test_fold] = TEST
    return part


def write_splits(
    path: str | Path,
    splits: Splits,
    records: pd.DataFrame,
    fingerprint: str = "",
) -> None:
    """Write ``splits.json``: store rows and record ids of each part, and the report.

    Args:
        path: the file.
        splits: from `make_splits`.
        records: the same records.
        fingerprint: of the store.
    """
    by_row = records.set_index("row")
    parts = {}
    for name, rows in splits.parts.items():
        part = by_row.loc[rows]
        parts[name] = {
            "rows": rows,
            "datasets": part["dataset"].tolist(),
            "record_ids": part["record_id"].tolist(),
        }
    content = {"store": fingerprint, "report": splits.report, "parts": parts}
    files.write_json(path, content)


def read_splits(
    path: str | Path,
    records: pd.DataFrame | None = None,
    fingerprint: str = "",
) -> Splits:
    """Read ``splits.json`` and check it.

    Args:
        path: the file.
        records: of the store; every row must be the record that was split. ``None``
            skips this check.
        fingerprint: of the store; it must be that of the splits. Empty skips this
            check.

    Raises:
        SplitError: the file is missing or damaged, a row is in two parts, or the splits
            belong to another store.
    """
    again = "Make the splits again."
    try:
        content = files.read_json(path)
        rows = {}
        for name in PARTS:
            part = content["parts"][name]
            rows[name] = np.asarray(part["rows"], dtype=np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        refuse_transient(error, path)
        raise SplitError(f"{path} cannot be read ({error}). {again}") from error
    store = content.get("store")
    if fingerprint and store != fingerprint:
        raise SplitError(
            f"{path} belongs to store {store!r}, not {fingerprint!r}. {again}"
        )
    all_rows = np.concatenate(list(rows.values()))
    if len(np.unique(all_rows)) != len(all_rows):
        raise SplitError(
            f"{path} names a row twice, so training and test overlap. {again}"
        )
    if records is not None:
        _check_records(path, content["parts"], records)
    return Splits(**rows, report=content["report"])


def _check_records(
    path: str | Path,
    parts: dict[str, Any],
    records: pd.DataFrame,
) -> None:
    names = zip(records["dataset"], records["record_id"], strict=True)
    stored = dict(zip(records["row"], names, strict=True))
    for part in parts.values():
        columns = part["rows"], part["datasets"], part["record_ids"]
        for row, *name in zip(*columns, strict=True):
            stored_name = stored.get(row)
            if stored_name != tuple(name):
                raise SplitError(
                    f"In {path} row {row} is {' '.join(name)}, in the store it is "
                    f"{stored_name}: they do not belong together. Make the splits "
                    "again."
                )
