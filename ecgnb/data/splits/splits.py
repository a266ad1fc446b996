"""Which records train, which choose the model and which judge it; no patient is in two
of these parts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgnb.core import files
from ecgnb.core.errors import SplitError
from ecgnb.data.config import SplitConfig
from ecgnb.data.labels.record_keys import without_rate
from ecgnb.data.splits.stratify import assign_groups, class_counts

#: Names of the parts, in order.
PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Division:
    """Records and the part of each.

    Attributes:
        part: int64 ``[n]``, index into `PARTS`.
        groups: int64 ``[n]``, patient of each record.
        counts: int64 ``[n, n_classes + 1]``; the last column counts records without a
            class.
        classes: names of the classes; numbers where there are none.
        leaks: what `ecgnb.data.splits.splits.find_leakage` found.
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
        return [
            *self.classes[:known],
            *(str(number) for number in range(len(self.classes), known)),
            "(none)",
        ]


def warnings_about(division: Division) -> list[str]:
    """Name leaks, how many patients are unknown, classes that a part lacks and classes
    of too few patients.
    """
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
            warnings.append(
                f"Class {name} has {n_groups} patients only, fewer than there are parts."
            )
        lacking = [
            PARTS[number]
            for number in range(len(PARTS))
            if not having[division.part == number].any()
        ]
        if lacking:
            warnings.append(f"Class {name} is missing in {' and '.join(lacking)}.")
    return warnings


def describe(division: Division) -> dict[str, Any]:
    """Count records, patients and classes of each part, as plain JSON."""
    masks = {name: division.part == number for number, name in enumerate(PARTS)}
    return {
        "records": {name: int(mask.sum()) for name, mask in masks.items()},
        "groups": {
            name: len(np.unique(division.groups[mask])) for name, mask in masks.items()
        },
        "classes": {
            name: dict(
                zip(
                    division.names,
                    division.counts[mask].sum(axis=0).tolist(),
                    strict=True,
                )
            )
            for name, mask in masks.items()
        },
        "unknown_patients": int(division.unknown.sum()),
        "leakage": division.leaks.to_dict("records"),
    }


def examples(leaks: pd.DataFrame, count: int = 3) -> str:
    """Name the first few leaks in one line."""
    shown = [
        f"{case.kind} {case.key} in {case.parts}"
        for case in leaks.head(count).itertuples()
    ]
    return "; ".join(shown) + (" ..." if len(leaks) > count else "")


def record_groups(records: pd.DataFrame) -> np.ndarray:
    """Number the groups of records that belong together, directly or through others.

    Records belong together when they are of one patient of one data set, when their
    stored signals are identical, or when they are twins: one recording of a data set at
    two rates, with ids that differ in ``_lr`` and ``_hr`` alone. A record without a
    patient and without a double is a group of its own.

    Args:
        records: with the columns dataset, record_id, patient_id and signal_hash.

    Returns:
        int64 ``[n]``, numbered from 0 in the order of first appearance.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(records)
    # A graph with a node a record and a key; -1 is "unknown" and ties nothing.
    size, begins, ends = n, [], []
    for keys in _keys(records).values():
        key_of = pd.factorize(keys)[0]
        known = np.flatnonzero(key_of >= 0)
        begins.append(known)
        ends.append(size + key_of[known])
        size += int(key_of.max(initial=-1)) + 1
    edges = (np.concatenate(begins), np.concatenate(ends))
    graph = coo_matrix(
        (np.ones(len(edges[0]), dtype=np.int8), edges), shape=(size, size)
    )
    components = connected_components(graph, directed=False)[1][:n]
    return pd.factorize(components)[0].astype(np.int64)


def find_shared(records: pd.DataFrame, parts: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """List patients, identical signals and twins (one recording at two rates) that
    stand in more than one part.

    Args:
        records: with the columns row, dataset, record_id, patient_id and signal_hash.
        parts: name of each part and the store rows in it.

    Returns:
        A row a case: kind ("patient", "signal" or "twin"), key, parts and records, each joined with "|".
    """
    part_of = pd.concat(
        [
            pd.Series(name, index=np.asarray(rows))
            for name, rows in parts.items()
            if len(rows)
        ]
    )
    table = records.assign(part=records["row"].map(part_of))
    table = table[table["part"].notna()]
    cases = []
    for kind, keys in _keys(table).items():
        keyed = table.assign(key=keys)[keys.notna()]
        n_parts = keyed.groupby("key")["part"].transform("nunique")
        for key, case in keyed[n_parts > 1].groupby("key", sort=True):
            found = sorted(set(case["part"]), key=list(parts).index)
            cases.append([kind, key, "|".join(found), "|".join(case["record_id"])])
    return pd.DataFrame(cases, columns=["kind", "key", "parts", "records"])


def unknown_patients(records: pd.DataFrame) -> np.ndarray:
    """Tell for each record (bool ``[n]``) whether its patient is unknown."""
    return (records["patient_id"].fillna("").astype(str) == "").to_numpy()


def _keys(records: pd.DataFrame) -> dict[str, pd.Series]:
    """Return what ties records, by kind: one key a record, missing where unknown.

    Patients and twins are named with their data set, since two data sets may use the
    same numbers.
    """
    dataset = records["dataset"].astype(str) + ":"
    patient = dataset + records["patient_id"].astype(str)
    signal = records["signal_hash"]
    return {
        "patient": patient.mask(unknown_patients(records), None),
        "signal": signal.where(signal != "", None),
        "twin": dataset + records["record_id"].astype(str).map(without_rate),
    }


@dataclass(frozen=True, eq=False)
class Splits:
    """Store rows of the three parts, each int64 and ascending, and a report of what was
    checked.

    Attributes:
        train: rows to learn from.
        valid: rows to choose the best epoch, thresholds and temperature with.
        test: rows that are looked at once.
        report: plain JSON: sizes, classes a part, records of unknown patients, warnings
            and leakage.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The three parts by name."""
        return {name: getattr(self, name) for name in PARTS}


def make_splits(
    records: pd.DataFrame,
    targets: np.ndarray,
    config: SplitConfig,
    classes: Sequence[str] = (),
) -> Splits:
    """Part the records into training, validation and test.

    Except with official folds, all records of a patient, all copies of a signal and a
    recording's two rates go into the same part. Where the patient is unknown that
    cannot be ensured; the report's warnings say for how many.

    Args:
        records: rows of a store's ``records`` (row, dataset, record_id, patient_id,
            fold, signal_hash).
        targets: int64 ``[n]`` class numbers or {0, 1} ``[n, n_classes]``, in the same
            order.
        config: how to part them.
        classes: names of the classes, for the report.

    Raises:
        SplitError: too few patients or folds, or lengths that do not agree.
    """
    if len(records) != len(targets):
        raise SplitError(
            f"There are {len(records)} records but {len(targets)} targets: give one target a record."
        )
    groups = record_groups(records)
    counts = class_counts(targets)
    if config.split == "official":
        part, warnings = _official(records, config)
    else:
        part, warnings = _grouped(counts, groups, config), []
    rows = records["row"].to_numpy(dtype=np.int64)
    train, valid, test = (np.sort(rows[part == number]) for number in range(len(PARTS)))
    splits = Splits(train, valid, test)
    leaks = find_leakage(records, splits)
    if len(leaks) and config.split != "official":
        raise SplitError(
            f"{len(leaks)} patients, signals or twins stand in two parts: {examples(leaks)}."
        )
    division = Division(part, groups, counts, classes, leaks, unknown_patients(records))
    report = {"config": dataclasses.asdict(config), **describe(division)}
    return dataclasses.replace(
        splits, report={**report, "warnings": warnings + warnings_about(division)}
    )


def find_leakage(records: pd.DataFrame, splits: Splits) -> pd.DataFrame:
    """List patients, identical signals and twins that stand in more than one part
    (kind, key, parts, records).
    """
    return find_shared(records, splits.parts)


def write_splits(
    path: str | Path, splits: Splits, records: pd.DataFrame, fingerprint: str = ""
) -> None:
    """Write ``splits.json``: store rows and record ids of each part, and the report.

    Args:
        path: the file.
        splits: what `make_splits` gave.
        records: the store's records that were parted.
        fingerprint: that of the store.
    """
    indexed = records.set_index("row")
    parts = {}
    for name, rows in splits.parts.items():
        chosen = indexed.loc[rows]
        parts[name] = {
            "rows": rows,
            "datasets": chosen["dataset"].tolist(),
            "record_ids": chosen["record_id"].tolist(),
        }
    files.write_json(
        path, {"store": fingerprint, "report": splits.report, "parts": parts}
    )


def read_splits(
    path: str | Path, records: pd.DataFrame | None = None, fingerprint: str = ""
) -> Splits:
    """Read ``splits.json`` and check it.

    Args:
        path: the file.
        records: the store's records; given, every row must still be the record that it
            was.
        fingerprint: that of the store; given, it must be the one of the splits.

    Raises:
        SplitError: the file is missing or damaged, a row is in two parts, or the splits
            belong to another store.
    """
    try:
        saved = files.read_json(path)
        rows = {
            name: np.asarray(saved["parts"][name]["rows"], dtype=np.int64)
            for name in PARTS
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SplitError(
            f"{path} cannot be read ({error}). Make the splits again."
        ) from error
    if fingerprint and saved.get("store") != fingerprint:
        raise SplitError(
            f"{path} belongs to store {saved.get('store')!r}, not {fingerprint!r}. Make the splits again."
        )
    together = np.concatenate(list(rows.values()))
    if len(np.unique(together)) != len(together):
        raise SplitError(
            f"{path} names a row twice, so training and test overlap. Make the splits again."
        )
    if records is not None:
        _check_records(path, saved["parts"], records)
    return Splits(rows["train"], rows["valid"], rows["test"], saved["report"])


def _check_records(
    path: str | Path, parts: dict[str, Any], records: pd.DataFrame
) -> None:
    now = dict(
        zip(
            records["row"],
            zip(records["dataset"], records["record_id"], strict=True),
            strict=True,
        )
    )
    for part in parts.values():
        for row, dataset, record_id in zip(
            part["rows"], part["datasets"], part["record_ids"], strict=True
        ):
            if now.get(row) != (dataset, record_id):
                raise SplitError(
                    f"{path} says that row {row} is {dataset} {record_id}, the store says {now.get(row)}: "
                    "they do not belong together. Make the splits again."
                )


def _grouped(counts: np.ndarray, groups: np.ndarray, config: SplitConfig) -> np.ndarray:
    """Return the part of each record (0 train, 1 valid, 2 test), groups kept whole."""
    kfold = config.split == "kfold"
    needed = config.n_folds if kfold else len(PARTS)
    n_groups = int(groups.max(initial=-1)) + 1
    if n_groups < needed:
        raise SplitError(
            f"{len(groups)} records of {n_groups} patients cannot be parted into {needed} without tearing a patient "
            "apart. Use more recordings"
            + (" or fewer folds (N_FOLDS)." if kfold else ".")
        )
    if not kfold:
        valid, test = config.valid_fraction, config.test_fraction
        return assign_groups(
            counts, groups, np.array([1 - valid - test, valid, test]), config.split_seed
        )[groups]
    fractions = np.full(config.n_folds, 1 / config.n_folds)
    fold = assign_groups(
        counts, groups, fractions, config.split_seed, at_least_one=False
    )[groups]
    test_fold = config.test_fold % config.n_folds
    return np.where(
        fold == test_fold, 2, np.where(fold == (test_fold + 1) % config.n_folds, 1, 0)
    )


def _official(
    records: pd.DataFrame, config: SplitConfig
) -> tuple[np.ndarray, list[str]]:
    """Return the part of each record by the data set's folds, and what is unusual about
    them.
    """
    fold = records["fold"]
    present = sorted(int(number) for number in fold.dropna().unique())
    if len(present) < 3:
        raise SplitError(
            f"The records have {len(present)} official folds {present}; three are needed. Set SPLIT to 'stratified'."
        )
    if config.test_fold >= 0 and config.test_fold not in present:
        raise SplitError(
            f"TEST_FOLD is {config.test_fold}, but the official folds are {present}. Choose one of them."
        )
    test = config.test_fold if config.test_fold >= 0 else present[-1]
    valid = present[present.index(test) - 1]
    warnings = [
        f"Official folds: {test} is the test, {valid} validates, the others train."
    ]
    absent = [
        number for number in range(1, config.n_folds + 1) if number not in present
    ]
    if absent:
        warnings.append(
            f"There are no records of folds {', '.join(map(str, absent))}: results cannot be compared with published "
            f"ones on the usual test fold."
        )
    if fold.isna().any():
        warnings.append(
            f"{int(fold.isna().sum())} records have no official fold; they train."
        )
    number = fold.astype("float64").to_numpy(na_value=np.nan)
    part = np.where(number == test, 2, np.where(number == valid, 1, 0))
    return part, warnings
