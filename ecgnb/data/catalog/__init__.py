"""Catalogue of data sets: `find_records` returns the manifest of any of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ecgnb.core.errors import LabelError
from ecgnb.core.registry import import_submodules
from ecgnb.data.catalog.base import CATALOG, UNIFIED, Dataset
from ecgnb.data.labels.mapping_file import write_mapping

__all__ = [
    "CATALOG",
    "UNIFIED",
    "Dataset",
    "build_mapping",
    "classes_of",
    "find_records",
]


def find_records(
    name: str,
    root: str | Path,
    *,
    label_set: str | None = None,
    likelihood: float = 0.0,
    target_fs: float | None = None,
) -> pd.DataFrame:
    """Return the manifest of a data set's recordings in a folder; see `Dataset.find`.

    >>> find_records("ptbxl", "data/ptb-xl", label_set="superclass")  # doctest: +SKIP
    """
    dataset = CATALOG.get(name)()
    return dataset.find(
        root, label_set=label_set, likelihood=likelihood, target_fs=target_fs
    )


def classes_of(name: str, label_set: str | None = None) -> tuple[str, ...]:
    """Return the classes of a data set's label set (None: the default) in their order.

    >>> classes_of("ptbxl", "superclass")
    ('NORM', 'MI', 'STTC', 'CD', 'HYP')
    """
    return CATALOG.get(name)().classes(label_set)


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
