"""What a store is made from: the rows of a manifest, their leads, and the fingerprint
of it all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecgnb.core import files
from ecgnb.core.errors import EcgnbError, StoreError
from ecgnb.data.config import PrepareConfig
from ecgnb.data.loading.sampling import epoch_order
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.signal.leads import STANDARD_12, normalise_lead
from ecgnb.data.store.store import FORMAT

#: Columns of a manifest that the store depends on; labels are not among them.
MANIFEST_COLUMNS = (
    "dataset",
    "record_id",
    "path",
    "patient_id",
    "fold",
    "fs",
    "n_samples",
    "leads",
    "start",
)
#: Share of the recordings that must have a lead for it to be one of the data set's own.
COMMON_LEAD = 0.8
#: Files that are tried to learn the leads of a data set that does not tell them.
LEAD_PROBES = 20


class Row(NamedTuple):
    """What the preparation needs of a row of the manifest; ``n_samples`` ``None`` means
    up to the end.
    """

    dataset: str
    record_id: str
    path: str
    patient_id: str
    fold: int | None
    fs: float | None
    n_samples: int | None
    start: int


def store_fingerprint(manifest: pd.DataFrame, config: PrepareConfig) -> str:
    """Return the hash that names a store: of the layout, the configuration, the rows
    and the files' sizes and times.

    Neither labels nor ``n_jobs`` change it, nor does the folder that the recordings lie
    in: files count by name.
    """
    settings = dataclasses.asdict(with_leads(manifest, config))
    del settings["n_jobs"]
    if (
        settings["resampling"] == "filter"
    ):  # as it was before there was a choice: older stores keep their names
        del settings["resampling"]
    watch = _Watch()
    rows = [
        [*row._replace(path=_name(row.path)), watch.state(row.path)]
        for row in manifest_rows(manifest)
    ]
    digest = hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()
    return files.fingerprint({"format": FORMAT, "config": settings, "rows": digest})


def limit_records(manifest: pd.DataFrame, limit: int, seed: int = 0) -> pd.DataFrame:
    """Draw ``limit`` rows of a manifest at random, always the same for a seed, and keep
    their order; 0 keeps all.
    """
    if not 0 < limit < len(manifest):
        return manifest
    drawn = epoch_order(len(manifest), seed=seed, epoch=-1)[:limit]
    return manifest.iloc[np.sort(drawn)].reset_index(drop=True)


def with_leads(manifest: pd.DataFrame, config: PrepareConfig) -> PrepareConfig:
    """Fill in the data set's own leads where ``config`` names none, and spell them as
    the readers do.

    Of the most frequent set of leads those count that four of five recordings have, so
    that a data set with one fixed lead and a changing one loses the changing lead and
    not the recordings; all of the set count where no lead is that common. Standard
    leads take their standard order, whatever order the files have.

    Raises:
        StoreError: the manifest has no rows or lacks columns, or neither it nor a file
            tells the leads.
    """
    absent = [name for name in MANIFEST_COLUMNS if name not in manifest]
    if absent:
        raise StoreError(
            f"The manifest lacks the columns {', '.join(absent)}. Make it with find_records."
        )
    if manifest.empty:
        raise StoreError(
            "The manifest is empty: there is nothing to prepare. Check DATASET_DIR and DATASET."
        )
    return dataclasses.replace(
        config, leads=_spelled(config.leads) or _own_leads(manifest)
    )


def _own_leads(manifest: pd.DataFrame) -> tuple[str, ...]:
    texts = Counter(text for text in manifest["leads"].fillna("") if text)
    told: Counter[tuple[str, ...]] = Counter()
    for text, count in texts.items():
        told[_spelled(text.split("|"))] += count
    leads = (
        told.most_common(1)[0][0] if told else _spelled(_leads_of_first_file(manifest))
    )
    enough = COMMON_LEAD * told.total()
    common = {
        lead
        for lead in leads
        if sum(n for have, n in told.items() if lead in have) >= enough
    }
    leads = tuple(lead for lead in leads if lead in common) or leads
    known = set(leads) <= set(STANDARD_12)
    return tuple(lead for lead in STANDARD_12 if lead in leads) if known else leads


def _spelled(leads: Sequence[str]) -> tuple[str, ...]:
    return tuple(normalise_lead(lead) for lead in leads)


def _leads_of_first_file(manifest: pd.DataFrame) -> tuple[str, ...]:
    said = ""
    for row in manifest_rows(manifest.head(LEAD_PROBES)):
        try:
            return read_recording(
                row.path, fs=row.fs, start=row.start, n_samples=row.n_samples
            ).leads
        except (EcgnbError, OSError, ValueError) as error:
            said = str(error)
    raise StoreError(
        f"None of the first {LEAD_PROBES} recordings can be read to learn its leads ({said}). Set LEADS."
    )


def manifest_rows(manifest: pd.DataFrame) -> list[Row]:
    """Turn the manifest into plain tuples; what is unknown becomes ``None``."""
    text = [
        manifest[name].fillna("").astype(str)
        for name in ("dataset", "record_id", "path", "patient_id")
    ]
    numbers = [
        [None if pd.isna(value) else kind(value) for value in manifest[name]]
        for name, kind in (("fold", int), ("fs", float), ("n_samples", int))
    ]
    starts = [int(start) for start in manifest["start"].fillna(0)]
    return [Row(*values) for values in zip(*text, *numbers, starts, strict=True)]


class _Watch:
    """Names, sizes and times of the files that recordings are made of; looks into each
    folder once.
    """

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, list[os.DirEntry[str]]]] = {}
        self._states: dict[str, list[list[str | int]]] = {}

    def state(self, path: str) -> list[list[str | int]]:
        """Return name, size and time of a file; for a WFDB header, of all files that it
        may stand for.

        These are the files of the same stem, and those whose stem the header names:
        signal files that are called otherwise, and segments.
        """
        if path not in self._states:
            folder, name = path.rpartition("/")[0] or ".", _name(path)
            files_of = self._files_of(folder)
            stems = (
                {_stem(name), *_stems_in(path)}
                if name.endswith(".hea")
                else {_stem(name)}
            )
            entries = [
                entry for stem in sorted(stems) for entry in files_of.get(stem, ())
            ]
            watched = [
                entry
                for entry in entries
                if name.endswith(".hea") or entry.name == name
            ]
            self._states[path] = [state for entry in watched for state in _state(entry)]
        return self._states[path]

    def _files_of(self, folder: str) -> dict[str, list[os.DirEntry[str]]]:
        """Return the files of a folder by stem; none where it cannot be read."""
        if folder not in self._folders:
            by_stem: dict[str, list[os.DirEntry[str]]] = {}
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    by_stem.setdefault(_stem(entry.name), []).append(entry)
            self._folders[folder] = by_stem
        return self._folders[folder]


def _state(entry: os.DirEntry[str]) -> list[list[str | int]]:
    try:
        found = entry.stat()
    except OSError:
        return []
    return [[entry.name, found.st_size, found.st_mtime_ns]]


def _stems_in(header: str) -> set[str]:
    """Return the stems that begin the lines of a WFDB header: of its signal files, or
    of its segments.
    """
    try:
        with open(header, "rb") as file:
            lines = file.read().decode("latin-1").splitlines()
    except OSError:
        return set()
    names = {
        line.split(None, 1)[0]
        for line in lines
        if line.strip() and not line.startswith("#")
    }
    return {_stem(name) for name in names}


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def unique_rows(rows: Sequence[Row]) -> tuple[list[Row], list[list[str]]]:
    """Keep the first row of each record; the others are rejected."""
    kept: dict[tuple[str, str], Row] = {}
    rejected = []
    for row in rows:
        first = kept.setdefault((row.dataset, row.record_id), row)
        if first is not row:
            message = f"The record stands in the manifest twice; the first one, {first.path}, is used."
            rejected.append(
                [row.dataset, row.record_id, row.path, "duplicate", message]
            )
    return list(kept.values()), rejected
