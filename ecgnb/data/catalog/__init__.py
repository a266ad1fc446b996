"""Catalogue of data sets: `find_records` returns the manifest of any of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ecgnb.core.errors import ConfigError, LabelError, ReadError, first_few
from ecgnb.core.progress import say
from ecgnb.core.registry import did_you_mean, import_submodules
from ecgnb.data.catalog.base import (
    CATALOG,
    LEFT_OUT,
    UNIFIED,
    Dataset,
    Query,
    Record,
)
from ecgnb.data.labels.label_cells import NO_CLASS
from ecgnb.data.labels.mapping_file import write_mapping
from ecgnb.data.manifest import as_manifest

__all__ = [
    "CATALOG",
    "UNIFIED",
    "Dataset",
    "build_mapping",
    "classes_of",
    "find_records",
    "recognise",
]


def find_records(
    name: str,
    root: str | Path,
    *,
    label_set: str | None = None,
    likelihood: float = 0.0,
    target_fs: float | None = None,
) -> pd.DataFrame:
    """Return the manifest of a data set's recordings in a folder.

    Args:
        name: data set of the catalogue.
        root: its folder, or one level above or below it.
        label_set: one of its label sets; None for the default one.
        likelihood: least likelihood (0-100) of a statement that counts; only PTB-XL
            states any.
        target_fs: rate in Hz at which the signals will be used, for data sets at
            several rates.

    Returns:
        One row per recording (or window), columns as in
        `ecgnb.data.manifest.COLUMNS`; the label is "" where it is unknown, ``[]`` where
        the recording has none of the classes. Its ``attrs`` count what was left out:
        ``n_absent``, ``n_withdrawn``, ``n_duplicate``, ``n_foreign``; and
        ``not_understood`` the recordings by each code that is not understood.

    Raises:
        ReadError: ``missing_file``, there is no folder; ``empty``, it contains none of
            the recordings.
        LabelError: none of the recordings has a label of the default label set.
        ConfigError: the data set or label set is unknown, or the likelihood is no
            percentage.

    >>> find_records("ptbxl", "data/ptb-xl", label_set="superclass")  # doctest: +SKIP
    """
    dataset = CATALOG.get(name)()
    classes = classes_of(name, label_set)
    if not 0 <= likelihood <= 100:
        raise ConfigError(
            f"The likelihood is {likelihood:g}; give a percentage from 0 (all "
            "statements) to 100."
        )
    root = Path(root).expanduser().resolve()
    if not root.is_dir():
        raise ReadError(
            "missing_file",
            f"There is no folder {root}. Check the path of the data set {name}.",
        )
    default, *_ = dataset.label_sets
    query = Query(name, label_set or default, likelihood, target_fs)
    records = _distinct_records(dataset, root, query)
    manifest = as_manifest([_row(record, name, classes) for record in records])
    has_labels = (manifest["label"] != "").any()
    if dataset.is_labelled and query.label_set == default and not has_labels:
        raise LabelError(
            f"None of the {len(manifest)} recordings in {root} has a label of {name}. "
            f"Expected there: {dataset.expects}. For recordings without labels use the "
            "data set 'folder'."
        )
    counts = []
    for reason, text in LEFT_OUT.items():
        count = query.left_out[reason]
        manifest.attrs[f"n_{reason}"] = count
        if count:
            counts.append(f"{count} {text}")
    if counts:
        say(f"{name}: left out recordings: {', '.join(counts)}.")
    if query.not_understood:
        manifest.attrs["not_understood"] = dict(query.not_understood)
        codes = [f"{code} ({n})" for code, n in query.not_understood.most_common()]
        say(
            f"{name}: codes that are not understood, with their recordings: "
            f"{first_few(codes)}. They give no label, and are not OTHER."
        )
    return manifest


def _distinct_records(dataset: Dataset, root: Path, query: Query) -> list[Record]:
    records: dict[str, Record] = {}
    for record in dataset.records(root, query):
        # some data sets ship a part of their recordings twice: the first counts
        if records.setdefault(record.record_id, record) is not record:
            query.left_out["duplicate"] += 1
    if not records:
        raise ReadError(
            "empty",
            f"{root} holds no recording of {query.dataset}. Expected there: "
            f"{dataset.expects}.",
        )
    return list(records.values())


def _row(record: Record, dataset: str, classes: tuple[str, ...]) -> dict[str, object]:
    labels = set(record.labels)
    label = "|".join([name for name in classes if name in labels])
    if not label and NO_CLASS in labels:
        label = NO_CLASS
    return vars(record) | {
        "dataset": dataset,
        "path": record.path.as_posix(),
        "leads": "|".join(record.leads),
        "label": label,
    }


def classes_of(name: str, label_set: str | None = None) -> tuple[str, ...]:
    """Return the classes of a data set's label set (None: the default) in their order.

    Raises:
        ConfigError: the data set or label set is unknown.

    >>> classes_of("ptbxl", "superclass")
    ('NORM', 'MI', 'STTC', 'CD', 'HYP')
    """
    label_sets = CATALOG.get(name).label_sets
    label_set = label_set or next(iter(label_sets))
    if label_set not in label_sets:
        hint = did_you_mean(label_set, label_sets)
        raise ConfigError(
            f"The data set {name} has no label set {label_set!r}.{hint} "
            f"It has: {', '.join(label_sets)}."
        )
    return label_sets[label_set]


def recognise(folder: str | Path) -> str:
    """Return the data set that a folder looks like, "" for none."""
    for name in CATALOG:
        if CATALOG.get(name).recognises(Path(folder)):
            return name
    return ""


def build_mapping(
    name: str, root: str | Path, out_csv: str | Path, *, label_set: str = "unified"
) -> Path:
    """Write the label file of a data set and return its path.

    Raises:
        LabelError: the data set has none of these labels.
        ReadError: the recordings are not there.
    """
    manifest = find_records(name, root, label_set=label_set)
    if (manifest["label"] == "").all():
        raise LabelError(
            f"The data set {name} does not define the labels "
            f"{', '.join(classes_of(name, label_set))}. "
            f"Its label sets are {', '.join(CATALOG.get(name).label_sets)}."
        )
    write_mapping(out_csv, manifest)
    return Path(out_csv)


import_submodules(__name__)
