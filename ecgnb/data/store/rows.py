"""Inputs of a store: rows of a manifest, its common leads, its fingerprint."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecgnb.core import files
from ecgnb.core.errors import StoreError
from ecgnb.core.transient import refuse_transient
from ecgnb.data.config import PrepareConfig
from ecgnb.data.loading.sampler import epoch_order
from ecgnb.data.manifest import COLUMNS, as_manifest
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.data.store.recording_facts import facts_of, has_lead, normalised
from ecgnb.data.store.store import FORMAT

#: Share of the recordings that must have a lead to keep it.
COMMON_LEAD = 0.8

#: Name, size in bytes and time of modification in ns of a file.
FileState = list[str | int]
#: Files of a folder by their stem.
FilesByStem = dict[str, list[os.DirEntry[str]]]


class Row(NamedTuple):
    """Row of the manifest; ``n_samples`` is ``None`` for "up to the end"."""

    dataset: str
    record_id: str
    path: str
    patient_id: str
    fold: int | None
    fs: float | None
    n_samples: int | None
    start: int


def manifest_rows(manifest: pd.DataFrame) -> list[Row]:
    """Convert a manifest to tuples; missing numbers become ``None``."""
    table = as_manifest(manifest)[list(Row._fields)]
    values = table.astype(object)  # Python's numbers, as JSON has them
    values = values.where(table.notna(), None)
    return list(map(Row._make, values.itertuples(index=False)))


def unique_rows(rows: Sequence[Row]) -> tuple[list[Row], list[list[str]]]:
    """Keep the first row of each record.

    Returns:
        The kept rows, and the others as rows of ``rejected.csv``.
    """
    kept: dict[tuple[str, str], Row] = {}
    rejected = []
    for row in rows:
        first = kept.setdefault((row.dataset, row.record_id), row)
        if first is not row:
            message = (
                "The record is in the manifest twice; the first one, "
                f"{first.path}, is used."
            )
            rejected.append(
                [row.dataset, row.record_id, row.path, "duplicate", message]
            )
    return list(kept.values()), rejected


def limit_records(manifest: pd.DataFrame, limit: int, seed: int = 0) -> pd.DataFrame:
    """Draw ``limit`` rows of a manifest at random, the same ones for a seed, in their
    order; 0 keeps all.
    """
    if not 0 < limit < len(manifest):
        return manifest
    drawn = epoch_order(len(manifest), seed=seed, epoch=-1)[:limit]
    return manifest.iloc[np.sort(drawn)].reset_index(drop=True)


def with_leads(manifest: pd.DataFrame, config: PrepareConfig) -> PrepareConfig:
    """Return ``config`` with normalised leads, by default those of the data set.

    Of the most frequent set of leads those are used that four of five recordings have
    or that can be derived in them: a data set with one fixed and one changing lead
    keeps its recordings and loses the changing lead. All of the set are used when no
    lead is that common. Standard leads are in standard order, whatever their order in
    the files. `ecgnb.data.store.losses` says what is lost by this rule.

    Raises:
        StoreError: the manifest has no rows or lacks columns, or neither it nor a file
            names the leads.
    """
    # the store does not depend on the labels
    absent = [name for name in COLUMNS if name not in (*manifest, "label")]
    if absent:
        raise StoreError(
            f"The manifest lacks the columns {', '.join(absent)}. Make it with "
            "find_records."
        )
    if manifest.empty:
        raise StoreError(
            "The manifest is empty: there is nothing to prepare. Check DATASET_DIR and "
            "DATASET."
        )
    leads = normalised(config.leads) or _common_leads(manifest)
    return dataclasses.replace(config, leads=leads)


def _common_leads(manifest: pd.DataFrame) -> tuple[str, ...]:
    facts = facts_of(manifest, needed=("leads",))
    counts: Counter[tuple[str, ...]] = Counter()
    for recording, count in facts.counts.items():
        counts[recording.leads] += count  # type: ignore[assignment]  # or an estimate
    if not counts:
        raise StoreError(
            f"None of {facts.n_read} recordings can be read to learn the leads "
            f"({facts.problem}). Check the files of DATASET_DIR."
        )
    leads = counts.most_common(1)[0][0]
    common = []
    for lead in leads:
        n = sum(count for names, count in counts.items() if has_lead(names, lead))
        if n >= COMMON_LEAD * counts.total():
            common.append(lead)
    leads = tuple(common) or leads
    if set(leads) <= set(STANDARD_12):
        leads = tuple([lead for lead in STANDARD_12 if lead in leads])
    return leads


def store_fingerprint(manifest: pd.DataFrame, config: PrepareConfig) -> str:
    """Return a hash of layout, configuration, rows, and sizes and times of the files.

    Labels and ``n_jobs`` do not change it, nor does the folder of the recordings: files
    are identified by their names.
    """
    settings = dataclasses.asdict(with_leads(manifest, config))
    del settings["n_jobs"]
    # each folder is listed once, and windows of a file share its state
    list_folder = functools.cache(_files_by_stem)
    file_states: dict[str, list[FileState]] = {}
    rows = []
    for row in manifest_rows(manifest):
        if row.path not in file_states:
            file_states[row.path] = _file_states(row.path, list_folder)
        name = row.path.rpartition("/")[2]
        rows.append([*row._replace(path=name), file_states[row.path]])
    digest = hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()
    return files.fingerprint({"format": FORMAT, "config": settings, "rows": digest})


def _file_states(
    path: str, list_folder: Callable[[str], FilesByStem]
) -> list[FileState]:
    """Return the state of a file; for a WFDB header, of all files it may refer to.

    These are the files of the same stem, and those whose stem is in the header: signal
    files with other names, and segments.
    """
    folder, _, name = path.rpartition("/")
    by_stem = list_folder(folder or ".")
    if name.endswith(".hea"):
        entries = []
        for stem in sorted({_stem(name), *_stems_in(path)}):
            entries += by_stem.get(stem, [])
    else:
        same_stem = by_stem.get(_stem(name), [])
        entries = [entry for entry in same_stem if entry.name == name]
    states: list[FileState] = []
    for entry in entries:
        with _unless_transient(entry.path):  # deleted in the meantime
            status = entry.stat()
            states.append([entry.name, status.st_size, status.st_mtime_ns])
    return states


def _files_by_stem(folder: str) -> FilesByStem:
    """Return the files of a folder by stem; empty when it cannot be read."""
    by_stem: FilesByStem = {}
    with _unless_transient(folder), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            by_stem.setdefault(_stem(entry.name), []).append(entry)
    return by_stem


def _stems_in(header: str) -> set[str]:
    """Return the stems of the first words of a WFDB header: signal files, segments."""
    stems = set()
    with _unless_transient(header), open(header, encoding="latin-1") as file:
        for line in file.read().splitlines():
            if line.strip() and not line.startswith("#"):
                stems.add(_stem(line.split(None, 1)[0]))
    return stems


@contextlib.contextmanager
def _unless_transient(path: str) -> Iterator[None]:
    """Ignore that a file cannot be read, unless it may be readable a moment later: the
    fingerprint must not depend on the moment.
    """
    try:
        yield
    except OSError as error:
        refuse_transient(error, path)


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name
