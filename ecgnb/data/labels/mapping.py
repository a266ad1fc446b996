"""Apply a label mapping to recordings, and account for every recording and row."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from ecgnb.core.errors import ConfigError, LabelError, first_few
from ecgnb.core.registry import did_you_mean
from ecgnb.data.cell_text import patient_ids
from ecgnb.data.labels.label_cells import NO_CLASS, UNKNOWN, label_key
from ecgnb.data.labels.mapping_file import PATIENT
from ecgnb.data.labels.record_keys import WAYS, Matches, clean, group, match
from ecgnb.data.labels.targets import encode, factorize_labels

OTHER = "OTHER"
#: Names of data sets without a known source; they take labels of any data set.
ANONYMOUS = ("", "folder", "demo")


@dataclass(frozen=True)
class Coverage:
    """How many recordings got their label from where.

    Attributes:
        n_records: recordings before labelling.
        n_labelled: recordings with a label from the mapping.
        n_other: recordings without one that became OTHER.
        n_dropped: recordings without one that were dropped.
        n_ambiguous: dropped recordings whose name matches several rows or files.
        n_unknown: dropped recordings whose row states no label.
        n_no_class: recordings that are labelled with none of the classes.
        n_rows: rows of the mapping.
        n_foreign_rows: rows of other data sets.
        unknown: rows of recordings that do not exist (dataset, record_id,
            mapped_label).
        ways: recordings by how their name was matched, one of `WAYS`.
        not_classes: labels that are no class, with their number of recordings.
        classes: recordings per class, after labelling.
        not_understood: codes of the data set that are not understood, with their
            number of recordings.
    """

    n_records: int
    n_labelled: int
    n_other: int
    n_dropped: int
    n_ambiguous: int
    n_unknown: int
    n_no_class: int
    n_rows: int
    n_foreign_rows: int
    unknown: pd.DataFrame
    ways: dict[str, int]
    not_classes: dict[str, int]
    classes: dict[str, int]
    not_understood: dict[str, int] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """Return a table with the columns ``what``, ``count`` and ``note``."""
        counts = {"recordings found": self.n_records, "with a label": self.n_labelled}
        for way in WAYS:
            if way in self.ways:
                counts[f"found by {way}"] = self.ways[way]
        counts["without a label: OTHER"] = self.n_other
        counts["without a label: dropped"] = self.n_dropped
        counts["of these, their label is not stated"] = self.n_unknown
        counts["with none of the classes"] = self.n_no_class
        unknown = self.unknown["record_id"].tolist()
        notes = {"rows of unknown recordings": first_few(unknown)}
        if self.n_ambiguous:
            counts["ambiguous names"] = self.n_ambiguous
            notes["ambiguous names"] = (
                "dropped: give paths in the mapping, or keep one rate"
            )
        for name, count in self.not_classes.items():
            what = f"label {name!r} is no class"
            counts[what] = count
            notes[what] = "recordings"
        for code, count in self.not_understood.items():
            what = f"code {code!r} is not understood"
            counts[what] = count
            notes[what] = "recordings; it gives no label"
        counts["rows of the mapping"] = self.n_rows
        counts["rows of other data sets"] = self.n_foreign_rows
        counts["rows of unknown recordings"] = len(unknown)
        for name, count in self.classes.items():
            counts[f"class {name}"] = count
        table = pd.DataFrame({"what": list(counts), "count": list(counts.values())})
        table["note"] = [notes.get(what, "") for what in counts]
        return table


def apply_mapping(
    manifest: pd.DataFrame,
    mapping: pd.DataFrame,
    classes: Sequence[str],
    unmapped: Literal["other", "drop"] = "other",
) -> tuple[pd.DataFrame, Coverage]:
    """Label recordings by a mapping, and fill in patients that are unknown.

    Names are matched by `ecgnb.data.labels.record_keys`. Recordings of a catalogued
    data set take the rows of that data set, recordings of a plain folder those of any.
    A label that is no class counts as OTHER, where that is a class; the empty set of
    labels (``[]``) stays empty. Recordings that the mapping does not name become OTHER
    or are dropped. They are always dropped where OTHER is no class. Recordings whose
    row states no label are dropped, since an unknown label is not OTHER, and so are
    those whose name is ambiguous, such as a record at two rates that the mapping names
    without rate: their label may be known.

    Args:
        manifest: recordings; their labels are ignored, their patients are kept.
        mapping: as `read_mapping` returns it.
        classes: the classes in order.
        unmapped: whether recordings without a label become OTHER or are dropped.

    Returns:
        The labelled recordings, in the order of the manifest, and the account. In their
        ``label`` "" is none of the classes.

    Raises:
        LabelError: rows contradict each other or lack a label, a label is no class and
            there is no OTHER, or no recording has a label.
        ConfigError: ``unmapped`` is neither "other" nor "drop".
    """
    if unmapped not in ("other", "drop"):
        raise ConfigError(f"unmapped is {unmapped!r}; give 'other' or 'drop'.")
    n_rows = len(mapping)
    mapping = _without_superseded_rows(mapping)
    texts, not_classes_of = _normalise_labels(mapping["mapped_label"], classes)
    codes, _ = pd.factorize(texts)  # rows of equal labels do not contradict each other
    join, foreign = _join(manifest, mapping, codes)
    has_row = join.row >= 0
    if len(manifest) and not has_row.any():
        raise _nothing_matched(manifest, mapping, join.ambiguous)
    is_stated = (mapping["mapped_label"] != UNKNOWN).to_numpy()  # one per row
    matched = has_row.copy()
    matched[has_row] = is_stated[join.row[has_row]]
    rows = join.row[matched]
    keep = matched
    if unmapped == "other" and OTHER in classes:
        # the label of the others may be known, or is stated to be unknown
        keep = matched | ~(has_row | join.ambiguous)
    label = np.full(len(manifest), OTHER, dtype=object)
    label[matched] = texts[rows]
    labelled = manifest.assign(label=pd.Series(label, manifest.index, dtype="str"))
    if PATIENT in mapping:
        labelled[PATIENT] = _patients(manifest, mapping, join.row)
    labelled = labelled[keep]
    targets = encode(labelled["label"], classes, "multilabel")  # [n, n_classes]
    counts = targets.sum(0, dtype=np.int64)
    coverage = Coverage(
        n_records=len(manifest),
        n_labelled=int(matched.sum()),
        n_other=int((keep & ~matched).sum()),
        n_dropped=int((~keep).sum()),
        n_ambiguous=int(join.ambiguous.sum()),
        n_unknown=int((has_row & ~matched).sum()),
        n_no_class=int((labelled["label"] == "").sum()),
        n_rows=n_rows,
        n_foreign_rows=int(foreign.sum()),
        unknown=mapping[~join.used & ~foreign].reset_index(drop=True),
        ways=dict(Counter(join.how[matched])),
        not_classes=_count_not_classes(
            mapping["mapped_label"].iloc[rows], not_classes_of, classes
        ),
        classes=dict(zip(classes, counts.tolist(), strict=True)),
    )
    return labelled, coverage


def _without_superseded_rows(mapping: pd.DataFrame) -> pd.DataFrame:
    """Drop rows without a label where another row of the same name states one."""
    names = mapping["dataset"] + "\0" + mapping["record_id"].map(clean)
    is_stated = mapping["mapped_label"] != UNKNOWN
    superseded = ~is_stated & names.isin(names[is_stated])
    return mapping[~superseded].reset_index(drop=True)


def _patients(
    manifest: pd.DataFrame, mapping: pd.DataFrame, row: np.ndarray
) -> pd.Series:
    """Return the patients of the recordings, unknown ones from their ``row`` of the
    mapping (-1 for none).

    In a folder with recordings of several data sets, these may use the same ids for
    different people: their names become part of the ids.
    """
    patients = patient_ids(manifest[PATIENT]).to_numpy(dtype=object, copy=True)
    mapped = patient_ids(mapping[PATIENT])
    datasets = mapping["dataset"]
    if datasets.map(_dataset_key).nunique() > 1:
        mapped = mapped.where(mapped == "", datasets + ":" + mapped)
    missing = (row >= 0) & (patients == "")
    patients[missing] = mapped.to_numpy(dtype=object)[row[missing]]
    return pd.Series(patients, manifest.index, dtype="str")


def _normalise_labels(
    labels: pd.Series, classes: Sequence[str]
) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Return labels in the spelling and order of the classes ("" for none), and by each
    label as written its parts that are no class.
    """
    by_name = {label_key(name): name for name in reversed(classes)}
    by_name |= {name: name for name in classes}  # an exact match counts more
    codes, written = factorize_labels(labels)
    not_classes: dict[str, list[str]] = {}
    texts = []
    for text in written:
        known = set()
        unknown = []
        parts = [] if text == NO_CLASS else map(str.strip, text.split("|"))
        for part in parts:
            class_name = by_name.get(part) or by_name.get(label_key(part))
            if class_name:
                known.add(class_name)
            elif part and part not in unknown:
                unknown.append(part)
        if unknown:
            not_classes[text] = unknown
        if unknown and not known and OTHER in classes:
            known.add(OTHER)
        in_order = [name for name in classes if name in known]
        texts.append("|".join(in_order))
    return np.array(texts, dtype=object)[codes], not_classes


def _count_not_classes(
    labels: pd.Series, not_classes: dict[str, list[str]], classes: Sequence[str]
) -> dict[str, int]:
    """Count the recordings of labels that are no class.

    Raises:
        LabelError: there are some, and no class OTHER for them.
    """
    counts: Counter[str] = Counter()
    for text, count in Counter(labels).items():
        for part in not_classes.get(text, []):
            counts[part] += count
    if counts and OTHER not in classes:
        names = [f"{name!r} ({count})" for name, count in counts.items()]
        hint = did_you_mean(next(iter(counts)), list(classes))
        raise LabelError(
            f"The mapping has labels that are no class: {', '.join(names)}.{hint} "
            f"The classes are {', '.join(classes)}; a class OTHER would take them."
        )
    return dict(counts)


def _join(
    manifest: pd.DataFrame, mapping: pd.DataFrame, values: np.ndarray
) -> tuple[Matches, np.ndarray]:
    """Match one data set after the other.

    Args:
        manifest: the recordings.
        mapping: the rows.
        values: int64, one per row: a code of its label.

    Returns:
        The matches, and bool, one per row: whether it is of another data set.
    """
    join = Matches(manifest["path"].tolist(), values)
    foreign = np.ones(len(mapping), dtype=bool)
    table = pd.DataFrame(
        {
            "dataset": mapping["dataset"].map(_dataset_key),
            "name": mapping["record_id"].map(clean),
            "exact": mapping["record_id"].str.strip(),
        },
        dtype=object,
    )
    _refuse_contradictions(mapping, table, values, set(manifest["record_id"]))
    datasets = manifest["dataset"].map(_dataset_key)
    for dataset in datasets.unique():
        records = np.flatnonzero(datasets == dataset)
        is_candidate = np.ones(len(table), dtype=bool)
        if dataset not in ANONYMOUS:
            is_candidate = table["dataset"].isin([dataset, ""]).to_numpy()
        rows = np.flatnonzero(is_candidate)
        candidates = table[is_candidate]
        names, exact_names = candidates["name"], candidates["exact"]
        if candidates[["dataset", "name"]].drop_duplicates()["name"].duplicated().any():
            # in several data sets: their folders differ
            names = candidates["dataset"] + "/" + names
            exact_names = candidates["dataset"] + "/" + exact_names
        part = manifest.iloc[records]
        matches = match(
            part["record_id"].tolist(),
            part["path"].tolist(),
            names.tolist(),
            values[rows],
            exact_names.tolist(),
        )
        matched = matches.row >= 0
        join.row[records[matched]] = rows[matches.row[matched]]
        join.how[records] = matches.how
        join.ambiguous[records] = matches.ambiguous
        join.used[rows] |= matches.used
        foreign[rows] = False
    return join, foreign


def _refuse_contradictions(
    mapping: pd.DataFrame,
    table: pd.DataFrame,
    values: np.ndarray,
    record_ids: set[str],
) -> None:
    """Raise where rows of one recording have different labels.

    Args:
        mapping: the rows as written, for the message.
        table: their ``dataset``, and their ``name`` and ``exact`` name as they are
            compared.
        values: int64, one per row: a code of its label.
        record_ids: names of the recordings; a row with exactly such a name (1_lr) is
            of this one, not of another with the same stem (1_hr).
    """
    is_exact = table["exact"].isin(record_ids)
    names = table["exact"].where(is_exact, table["name"])
    keys = table["dataset"] + "\0" + names  # no name contains a zero byte
    groups = group(keys.tolist(), values)
    clashes = np.flatnonzero(~groups.agree)
    if len(clashes):
        rows = mapping["record_id"] + " = " + mapping["mapped_label"]
        examples = []
        for clash in clashes[:5]:
            contradicting = rows[groups.of_row == clash]
            examples.append(" and ".join(contradicting.iloc[:3]))
        raise LabelError(
            f"The mapping contradicts itself for {len(clashes)} recordings: "
            f"{'; '.join(examples)}. Keep one row for each, with several labels "
            "joined by '|'."
        )


@functools.cache
def _dataset_key(name: str) -> str:
    """Return the name of a data set as compared: letters and digits in lower case."""
    return "".join(filter(str.isalnum, name.lower()))


def _nothing_matched(
    manifest: pd.DataFrame, mapping: pd.DataFrame, ambiguous: np.ndarray
) -> LabelError:
    if ambiguous.any():
        paths = manifest["path"][ambiguous].tolist()
        return LabelError(
            f"None of the {len(manifest)} recordings has a label, as the names of "
            f"{len(paths)} are ambiguous: the mapping matches more than one of "
            f"{first_few(paths)}. Give paths in its column record_id "
            "(records100/00001_lr), or keep the recordings of one rate only (_lr or "
            "_hr)."
        )
    datasets = first_few([repr(name) for name in manifest["dataset"].unique()])
    mapped = first_few([repr(name) for name in mapping["dataset"].unique()])
    names = first_few(mapping["record_id"].tolist())
    return LabelError(
        f"None of the {len(manifest)} recordings is in the mapping of {len(mapping)} "
        f"rows. Recordings are called {first_few(manifest['record_id'].tolist())} "
        f"(data set {datasets}); the mapping names {names or 'none'} "
        f"(data set {mapped or 'none'}). Make record_id and dataset fit."
    )
