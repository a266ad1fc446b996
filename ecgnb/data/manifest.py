"""Manifest: a table with one row per recording, with fixed columns and types."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ecgnb.core.csv_cells import restore_cells
from ecgnb.core.files import write_csv
from ecgnb.data.cell_text import patient_ids

#: Columns in order, with their types. ``leads`` and ``label`` join their parts with
#: "|". "" is unknown; the label of a cohort is always known, and there "" is none of
#: the classes.
COLUMNS: dict[str, str] = {
    "dataset": "str",
    "record_id": "str",
    "path": "str",
    "patient_id": "str",
    "fold": "Int64",
    "fs": "float64",
    "n_samples": "Int64",
    "leads": "str",
    "start": "Int64",
    "label": "str",
}


def as_manifest(rows: Iterable[Mapping[str, Any]] | pd.DataFrame) -> pd.DataFrame:
    """Return a manifest from rows that may lack columns.

    Missing text becomes "", a missing ``start`` 0; other numbers stay missing. Patients
    are named as they are compared (`ecgnb.data.cell_text.patient_id`).
    """
    table = pd.DataFrame(rows if isinstance(rows, pd.DataFrame) else list(rows))
    table = table.reindex(columns=list(COLUMNS))
    columns: dict[str, pd.Series] = {}
    for name, kind in COLUMNS.items():
        if kind == "str":
            # a column of missing numbers takes text only as objects
            columns[name] = table[name].astype(object).fillna("").astype("str")
        else:
            dtype = pd.api.types.pandas_dtype(kind)
            columns[name] = pd.to_numeric(table[name]).astype(dtype)
    columns["patient_id"] = patient_ids(columns["patient_id"])
    return pd.DataFrame(columns).assign(start=columns["start"].fillna(0))


def write_manifest(path: str | Path, manifest: pd.DataFrame) -> None:
    """Write a manifest as CSV, atomically."""
    write_csv(path, manifest)


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read a manifest back with the types it was written with."""
    text = {name: "str" for name, kind in COLUMNS.items() if kind == "str"}
    missing = {name: [""] for name in COLUMNS if name not in text}
    table = pd.read_csv(
        path, dtype=text, keep_default_na=False, na_values=missing, encoding="utf-8"
    )
    return as_manifest(restore_cells(table))


def manifest_fingerprint(manifest: pd.DataFrame) -> str:
    """Return a hash of everything in a manifest."""
    text = manifest.to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()[:12]
