"""Labels from a mapping file: read it, join it to recordings whatever their names look
like, and account for all.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ecgnb.core.errors import ConfigError, LabelError
from ecgnb.core.files import write_csv
from ecgnb.core.registry import did_you_mean
from ecgnb.data.labels.record_keys import WAYS, clean, group, match

MAPPING_COLUMNS = ("dataset", "record_id", "mapped_label")
#: Column that a label file may have besides.
PATIENT = "patient_id"
OTHER = "OTHER"
#: Names of data sets that say nothing about where recordings come from; they take
#: labels of any data set.
ANONYMOUS = ("", "folder", "demo")

_SHOWN = 5  # how many examples a message names


@dataclass(frozen=True)
class Coverage:
    """How many recordings got their label from where.

    Attributes:
        n_records: recordings before labelling.
        n_labelled: recordings with a label from the mapping.
        n_other: recordings without one that were called OTHER.
        n_dropped: recordings without one that were dropped.
        n_ambiguous: of those dropped, recordings whose name does not tell which row, or
            whose row, is meant.
        n_rows: rows of the mapping.
        n_foreign_rows: rows for other data sets.
        unknown: rows for recordings that are not there (dataset, record_id,
            mapped_label).
        ways: recordings by how their name was found in the mapping.
        not_classes: labels that are no class, with the recordings that have them.
        classes: recordings a class, after labelling.
    """

    n_records: int
    n_labelled: int
    n_other: int
    n_dropped: int
    n_ambiguous: int
    n_rows: int
    n_foreign_rows: int
    unknown: pd.DataFrame
    ways: dict[str, int] = field(default_factory=dict)
    not_classes: dict[str, int] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """Return the account as a table with the columns ``what``, ``count`` and
        ``note``.
        """
        rows: list[tuple[str, int, str]] = [("recordings found", self.n_records, "")]
        rows.append(("with a label", self.n_labelled, ""))
        rows += [
            (f"found by {way}", self.ways[way], "")
            for way in WAYS
            if self.ways.get(way)
        ]
        rows.append(("without a label: OTHER", self.n_other, ""))
        rows.append(("without a label: dropped", self.n_dropped, ""))
        if self.n_ambiguous:
            rows.append(
                (
                    "ambiguous names",
                    self.n_ambiguous,
                    "dropped: give paths in the mapping, or keep one rate",
                )
            )
        rows += [
            (f"label {name!r} is no class", count, "recordings")
            for name, count in self.not_classes.items()
        ]
        rows.append(("rows of the mapping", self.n_rows, ""))
        rows.append(("rows of other data sets", self.n_foreign_rows, ""))
        rows.append(
            (
                "rows of unknown recordings",
                len(self.unknown),
                _shown(self.unknown["record_id"]),
            )
        )
        rows += [(f"class {name}", count, "") for name, count in self.classes.items()]
        return pd.DataFrame(rows, columns=["what", "count", "note"])


def read_mapping(path: str | Path) -> pd.DataFrame:
    """Read a label file with the columns ``dataset, record_id, mapped_label``; several labels are joined with ``|``.

    UTF-8 (with or without a mark), UTF-16 and Latin-1 are understood, and semicolons
    and tabs in place of commas. A column ``patient_id`` may say whose recording it is,
    so that no patient is in two parts of the data; further columns are ignored.

    Returns:
        The three columns, and ``patient_id`` where the file has it, as text; rows
        without a label are left out.

    Raises:
        LabelError: the file is missing or no such table, or a row has no ``record_id``.
    """
    path = Path(path)
    text = _decode(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(",;\t", key=first.count)
    names = [
        name.strip().lower()
        for name in next(csv.reader([first], delimiter=separator), [])
    ]
    missing = [name for name in MAPPING_COLUMNS if name not in names]
    if missing:
        raise LabelError(
            f"The label file {path} has no column {' and no column '.join(missing)}; its columns are "
            f"{', '.join(names) or 'none'}. It needs {', '.join(MAPPING_COLUMNS)}."
        )
    try:
        table = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            dtype="str",
            keep_default_na=False,
            index_col=False,
        )
    except ValueError as error:
        raise LabelError(
            f"The label file {path} is no regular table: {str(error).strip()}. Mend that line."
        ) from error
    table.columns = pd.Index(names)
    return _tidy(table[[*MAPPING_COLUMNS, *({PATIENT} & set(names))]], path)


def _decode(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabelError(
            f"The label file {path} cannot be opened: {error.strerror or error}."
        ) from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _tidy(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    tidy = pd.DataFrame({name: table[name].fillna("").str.strip() for name in table})
    nameless = np.flatnonzero((tidy["record_id"] == "").to_numpy())
    if len(nameless):
        rows = ", ".join(str(row + 2) for row in nameless[:_SHOWN])
        raise LabelError(
            f"The label file {path} has {len(nameless)} rows without a record_id: rows {rows}."
        )
    return tidy[tidy["mapped_label"] != ""].reset_index(drop=True)


def write_mapping(path: str | Path, manifest: pd.DataFrame) -> None:
    """Write the labels of a manifest as a label file; recordings without a label are
    left out.
    """
    own = manifest.loc[manifest["label"] != "", ["dataset", "record_id", "label"]]
    write_csv(path, own.rename(columns={"label": "mapped_label"}))


def apply_mapping(
    manifest: pd.DataFrame,
    mapping: pd.DataFrame,
    classes: Sequence[str],
    unmapped: Literal["other", "drop"] = "other",
) -> tuple[pd.DataFrame, Coverage]:
    """Give recordings the labels of a mapping, and its patients to those whose patient
    is unknown.

    Names of recordings and data sets are compared as `ecgnb.data.labels.record_keys`
    tells. Recordings of a catalogued data set take the rows of that data set,
    recordings of a plain folder those of any. A label that is no class counts as OTHER,
    where that is a class. Recordings without a label become OTHER or are dropped; they
    are always dropped where OTHER is no class, and so are recordings with an ambiguous
    name, such as one at two rates that the mapping names without rate: what they have
    may be known, so they are not OTHER.

    Args:
        manifest: recordings; their own labels are ignored, their own patients are kept.
        mapping: as `read_mapping` returns it.
        classes: the classes in order.
        unmapped: what becomes of recordings without a label.

    Returns:
        The labelled recordings, in the order of the manifest, and the account.

    Raises:
        LabelError: rows contradict each other or lack a label, a label is no class and
            there is no OTHER, or no recording has a label.
        ConfigError: ``unmapped`` is neither "other" nor "drop".
    """
    if unmapped not in ("other", "drop"):
        raise ConfigError(f"unmapped is {unmapped!r}; give 'other' or 'drop'.")
    texts, strangers = _canonical(mapping["mapped_label"], classes)
    join = _join(manifest, mapping, pd.factorize(texts)[0])
    has = join.row >= 0
    if len(manifest) and not has.any():
        raise (
            _all_ambiguous(manifest, join)
            if join.ambiguous.any()
            else _nothing_found(manifest, mapping)
        )
    raw = mapping["mapped_label"].to_numpy(dtype=object)[join.row[has]]
    not_classes = _count_strangers(raw, strangers, classes)
    label = np.full(len(manifest), OTHER if OTHER in classes else "", dtype=object)
    label[has] = texts[join.row[has]]
    keep = ~join.ambiguous if unmapped == "other" and OTHER in classes else has
    labelled = manifest.assign(
        label=pd.Series(label, index=manifest.index, dtype="str")
    )
    labelled = _with_patients(labelled, mapping, join.row)[keep]
    coverage = Coverage(
        n_records=len(manifest),
        n_labelled=int(has.sum()),
        n_other=int((keep & ~has).sum()),
        n_dropped=int((~keep).sum()),
        n_ambiguous=int(join.ambiguous.sum()),
        n_rows=len(mapping),
        n_foreign_rows=int(join.foreign.sum()),
        unknown=mapping[~join.used & ~join.foreign].reset_index(drop=True),
        ways=dict(Counter(join.how[has])),
        not_classes=not_classes,
        classes={
            name: int(count)
            for name, count in zip(
                classes, _count(labelled["label"], classes), strict=True
            )
        },
    )
    return labelled, coverage


def _with_patients(
    manifest: pd.DataFrame, mapping: pd.DataFrame, row: np.ndarray
) -> pd.DataFrame:
    """Fill in the patients that the mapping tells and the manifest does not; ``row`` is
    -1 for no row.
    """
    if PATIENT not in mapping:
        return manifest
    own = manifest[PATIENT].fillna("").to_numpy(dtype=object, copy=True)
    open_ = (own == "") & (row >= 0)
    own[open_] = mapping[PATIENT].fillna("").to_numpy(dtype=object)[row[open_]]
    return manifest.assign(
        **{PATIENT: pd.Series(own, index=manifest.index, dtype="str")}
    )


def _canonical(
    labels: pd.Series, classes: Sequence[str]
) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Return each label in the classes' spelling and order, and the parts that are no
    class by the label as written.
    """
    by_name = {name.casefold(): name for name in reversed(classes)} | {
        name: name for name in classes
    }
    codes, written = pd.factorize(labels)
    _refuse_missing(codes, labels.index)
    strangers: dict[str, list[str]] = {}
    texts = []
    for text in written:
        parts = [part.strip() for part in text.split("|") if part.strip()]
        known = {
            by_name.get(part, by_name.get(part.casefold(), "")) for part in parts
        } - {""}
        missing = [
            part
            for part in parts
            if part not in by_name and part.casefold() not in by_name
        ]
        if missing:
            strangers[text] = missing
        if not known and OTHER in classes:
            known = {OTHER}
        texts.append("|".join([name for name in classes if name in known]))
    return np.array(texts, dtype=object)[codes] if len(texts) else np.empty(
        0, dtype=object
    ), strangers


def _distinct(
    mapping: pd.DataFrame, says: np.ndarray
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return each recording of the mapping once, and for each row of the mapping the
    position of its recording.

    Returns:
        A table with the columns ``dataset`` and ``name`` as they are compared and
        ``row``, the first row of the mapping; and int64, one a row of the mapping.

    Raises:
        LabelError: rows of one recording contradict each other.
    """
    datasets = np.array(_dataset_keys(mapping["dataset"]), dtype=object)
    names = np.array([clean(name) for name in mapping["record_id"]], dtype=object)
    groups = group(datasets + "\0" + names, says)
    clashes = np.flatnonzero(~groups.agree)
    if len(clashes):
        written = mapping["record_id"] + " = " + mapping["mapped_label"]
        shown = [
            " and ".join(written[groups.of_row == clash].iloc[:3])
            for clash in clashes[:_SHOWN]
        ]
        raise LabelError(
            f"The mapping contradicts itself for {len(clashes)} recordings: {'; '.join(shown)}. Keep one row for each, "
            "with several labels joined by '|'."
        )
    first = groups.first
    return pd.DataFrame(
        {"dataset": datasets[first], "name": names[first], "row": first}
    ), groups.of_row


def _dataset_keys(names: pd.Series) -> list[str]:
    """Return names of data sets as they are compared: letters and digits in lower
    case.
    """
    codes, written = pd.factorize(names)
    keys = [
        "".join(sign for sign in name.lower() if sign.isalnum()) for name in written
    ]
    return [keys[code] for code in codes]


class _Join:
    """Which row of the mapping a recording takes, how it was found, and which rows were
    used or of no concern.
    """

    def __init__(self, n_records: int, n_rows: int) -> None:
        self.row = np.full(n_records, -1, dtype=np.int64)
        self.how = np.full(n_records, "", dtype=object)
        self.ambiguous = np.zeros(n_records, dtype=bool)
        self.used = np.zeros(n_rows, dtype=bool)
        self.foreign = np.ones(n_rows, dtype=bool)


def _join(manifest: pd.DataFrame, mapping: pd.DataFrame, says: np.ndarray) -> _Join:
    """Match one data set after the other; ``says`` (int64) tells which rows of the
    mapping say the same.
    """
    join = _Join(len(manifest), len(mapping))
    known, entry_of_row = _distinct(mapping, says)
    datasets = np.array(_dataset_keys(manifest["dataset"]), dtype=object)
    ids, paths = (
        manifest["record_id"].to_numpy(dtype=object),
        manifest["path"].to_numpy(dtype=object),
    )
    for dataset in dict.fromkeys(datasets):
        at = np.flatnonzero(datasets == dataset)
        ours = (
            known
            if dataset in ANONYMOUS
            else known[known["dataset"].isin([dataset, ""])]
        )
        names, first = ours["name"], ours["row"].to_numpy()
        if (
            names.duplicated().any()
        ):  # the same name in several data sets: their folders tell them apart
            names = ours["dataset"] + "/" + names
        found = match(ids[at].tolist(), paths[at].tolist(), names.tolist(), says[first])
        has = found.row >= 0
        join.row[at[has]] = first[found.row[has]]
        join.how[at], join.ambiguous[at] = found.how, found.ambiguous
        join.foreign &= ~np.isin(entry_of_row, ours.index)
        join.used |= np.isin(entry_of_row, ours.index[found.used])
    return join


def _nothing_found(manifest: pd.DataFrame, mapping: pd.DataFrame) -> LabelError:
    have = ", ".join(map(repr, manifest["dataset"].unique()[:_SHOWN]))
    given = ", ".join(map(repr, mapping["dataset"].unique()[:_SHOWN])) or "none"
    names = _shown(mapping["record_id"]) or "none"
    return LabelError(
        f"None of the {len(manifest)} recordings is in the mapping of {len(mapping)} rows. Recordings are called "
        f"{_shown(manifest['record_id'])} (data set {have}); the mapping names {names} (data set {given}). "
        "Make record_id and dataset fit."
    )


def _all_ambiguous(manifest: pd.DataFrame, join: _Join) -> LabelError:
    paths = manifest["path"][join.ambiguous]
    return LabelError(
        f"None of the {len(manifest)} recordings has a label, as the names of {len(paths)} are ambiguous: the mapping "
        f"does not tell which of {_shown(paths)} it means. Give paths in its column record_id (records100/00001_lr), "
        "or keep the recordings of one rate only (_lr or _hr)."
    )


def _shown(names: pd.Series) -> str:
    return ", ".join(names.iloc[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _count_strangers(
    raw: np.ndarray, strangers: dict[str, list[str]], classes: Sequence[str]
) -> dict[str, int]:
    """Count labels that are no class among those of the recordings; without a class
    OTHER they are a `LabelError`.
    """
    counts: Counter[str] = Counter()
    for text, count in Counter(raw.tolist()).items():
        for part in dict.fromkeys(strangers.get(text, [])):
            counts[part] += count
    if counts and OTHER not in classes:
        name = next(iter(counts))
        hint = did_you_mean(name, list(classes))
        raise LabelError(
            f"The mapping has labels that are no class: {', '.join(f'{n!r} ({c})' for n, c in counts.items())}.{hint} "
            f"The classes are {', '.join(classes)}; a class OTHER would take them."
        )
    return dict(counts)


def infer_task(labels: pd.Series) -> Literal["multiclass", "multilabel"]:
    """Return "multilabel" as soon as one recording has several labels (or none), else
    "multiclass".

    >>> infer_task(pd.Series(["MI", "AF|BBB"])), infer_task(pd.Series(["MI", "AF"]))
    ('multilabel', 'multiclass')
    """
    several = labels.str.contains("|", regex=False) | (labels == "")
    return "multilabel" if bool(several.any()) else "multiclass"


def encode(labels: pd.Series, classes: Sequence[str], task: str) -> np.ndarray:
    """Turn labels into targets.

    Args:
        labels: text, one a recording, several classes joined with ``|``.
        classes: the classes in order.
        task: "multiclass" or "multilabel".

    Returns:
        int64 ``[n]`` for multiclass, float32 ``[n, n_classes]`` of 0 and 1 for
        multilabel.

    Raises:
        LabelError: a label is missing (NaN, None) or not among the classes, or a
            recording has none ("") or several in a multiclass task; in a multilabel
            task "" means none of the classes.
        ConfigError: the task is unknown.
    """
    if task not in ("multiclass", "multilabel"):
        raise ConfigError(f"The task is {task!r}; give 'multiclass' or 'multilabel'.")
    codes, written = pd.factorize(labels)
    _refuse_missing(codes, labels.index)
    position = {name: index for index, name in enumerate(classes)}
    table = np.zeros((len(written), len(classes)), dtype=np.float32)
    for row, text in enumerate(written):
        parts = [part for part in text.split("|") if part]
        wrong = [part for part in parts if part not in position]
        if wrong or (task == "multiclass" and len(parts) != 1):
            record = labels.index[int(np.argmax(codes == row))]
            what = (
                f"{wrong[0]!r}, which is not among"
                if wrong
                else f"{text!r}, not exactly one of"
            )
            raise LabelError(
                f"The recording {record!r} has the label {what} the classes {', '.join(classes)}."
            )
        table[row, [position[part] for part in parts]] = 1.0
    return (
        table[codes]
        if task == "multilabel"
        else table.argmax(axis=1).astype(np.int64)[codes]
    )


def _refuse_missing(codes: np.ndarray, names: pd.Index) -> None:
    """Refuse labels that `pandas.factorize` calls missing: its -1 would stand for the
    last of them.
    """
    missing = np.flatnonzero(codes < 0)
    if len(missing):
        raise LabelError(
            f"{len(missing)} labels are missing, the first in row {missing[0]} ({names[missing[0]]!r}). Give each "
            "recording a label, or leave it out; in a multilabel task '' stands for none of the classes."
        )


def _count(labels: pd.Series, classes: Sequence[str]) -> np.ndarray:
    return encode(labels, classes, "multilabel").sum(axis=0, dtype=np.float64)
