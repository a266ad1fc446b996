"""From a manifest to a `SignalStore`: in parallel, shard by shard, and after a kill from where it stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgnb import files
from ecgnb.data.leads import STANDARD_12, normalise_lead
from ecgnb.data.reading import read_recording
from ecgnb.data.sampling import epoch_order
from ecgnb.data.shard import RECORD_COLUMNS, REJECTED_COLUMNS, Row, ShardTask, make_shard, read_done
from ecgnb.data.standardise import PrepareConfig, Standardised, standardise
from ecgnb.data.store import FORMAT, SignalStore, read_manifest
from ecgnb.errors import EcgnbError, StoreError
from ecgnb.progress import progress, say

__all__ = ["PrepareConfig", "Standardised", "limit_records", "prepare_store", "standardise", "store_fingerprint"]

#: Columns of a manifest that the store depends on; labels are not among them.
MANIFEST_COLUMNS = ("dataset", "record_id", "path", "patient_id", "fold", "fs", "n_samples", "leads", "start")
#: Times that a file is written again when another preparation of the same store swept its temporary file away.
ATTEMPTS = 3
#: Files that are tried to learn the leads of a data set that does not tell them.
LEAD_PROBES = 20


def prepare_store(manifest: pd.DataFrame, config: PrepareConfig, folder: str | Path) -> SignalStore:
    """Read, check, resample and store all recordings of a manifest.

    A recording that cannot be used is named in ``rejected.csv`` and stops nothing. Called again after an
    interruption it makes only the shards that are missing; called again when all is done it opens the store. The
    files depend on the manifest, the recordings and ``config`` alone, not on ``n_jobs`` or on interruptions.

    Args:
        manifest: one row a recording, as `ecgnb.data.catalog.find_records` gives it.
        config: the form of the stored signals.
        folder: where the store goes, a folder of its own.

    Raises:
        StoreError: the manifest is empty or lacks columns, no recording can be used, the folder holds another store,
            cannot be written or has too little space.
    """
    folder = Path(folder)
    config = with_leads(manifest, config)
    fingerprint = store_fingerprint(manifest, config)
    rows, rejected = _unique(_rows(manifest))
    tasks = _tasks(rows, config, folder, fingerprint)
    if _is_finished(folder, fingerprint, len(tasks)):
        return SignalStore.open(folder)
    _refuse_other_store(folder, fingerprint)
    pending = [task for task in tasks if read_done(folder, task.number) is None]
    with _disk_errors(folder, needed := _bytes_needed(pending)):
        folder.mkdir(parents=True, exist_ok=True)
        files.remove_leftovers(folder)
        _check_space(folder, needed)
        _make_shards(pending, config.n_jobs)
        _undisturbed(_finish, tasks, rejected)
    return _summarise(SignalStore.open(folder))


def store_fingerprint(manifest: pd.DataFrame, config: PrepareConfig) -> str:
    """Return the hash that names a store: of the layout, the configuration, the rows and the files' sizes and times.

    Neither labels nor ``n_jobs`` change it.
    """
    settings = dataclasses.asdict(with_leads(manifest, config))
    del settings["n_jobs"]
    rows = [[*row, *_file_state(row.path)] for row in _rows(manifest)]
    digest = hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()
    return files.fingerprint({"format": FORMAT, "config": settings, "rows": digest})


def limit_records(manifest: pd.DataFrame, limit: int, seed: int = 0) -> pd.DataFrame:
    """Draw ``limit`` rows of a manifest at random, always the same for a seed, and keep their order; 0 keeps all."""
    if not 0 < limit < len(manifest):
        return manifest
    drawn = epoch_order(len(manifest), seed=seed, epoch=-1)[:limit]
    return manifest.iloc[np.sort(drawn)].reset_index(drop=True)


def with_leads(manifest: pd.DataFrame, config: PrepareConfig) -> PrepareConfig:
    """Fill in the data set's own leads where ``config`` names none, and spell them as the readers do.

    The most frequent set of leads counts. The twelve standard leads take their standard order, whatever order the
    files have.

    Raises:
        StoreError: the manifest has no rows or lacks columns, or neither it nor a file tells the leads.
    """
    absent = [name for name in MANIFEST_COLUMNS if name not in manifest]
    if absent:
        raise StoreError(f"The manifest lacks the columns {', '.join(absent)}. Make it with find_records.")
    if manifest.empty:
        raise StoreError("The manifest is empty: there is nothing to prepare. Check DATASET_DIR and DATASET.")
    leads = config.leads or _own_leads(manifest)
    return dataclasses.replace(config, leads=tuple(normalise_lead(lead) for lead in leads))


def _own_leads(manifest: pd.DataFrame) -> tuple[str, ...]:
    told = Counter(text for text in manifest["leads"].fillna("") if text)
    leads = tuple(told.most_common(1)[0][0].split("|")) if told else _leads_of_first_file(manifest)
    leads = tuple(normalise_lead(lead) for lead in leads)
    return STANDARD_12 if set(leads) == set(STANDARD_12) else leads


def _leads_of_first_file(manifest: pd.DataFrame) -> tuple[str, ...]:
    said = ""
    for row in _rows(manifest.head(LEAD_PROBES)):
        try:
            return read_recording(row.path, fs=row.fs, start=row.start, n_samples=row.n_samples).leads
        except (EcgnbError, OSError, ValueError) as error:
            said = str(error)
    raise StoreError(f"None of the first {LEAD_PROBES} recordings can be read to learn its leads ({said}). Set LEADS.")


def _rows(manifest: pd.DataFrame) -> list[Row]:
    """Turn the manifest into plain tuples; what is unknown becomes ``None``."""
    text = [manifest[name].fillna("").astype(str) for name in ("dataset", "record_id", "path", "patient_id")]
    numbers = [
        [None if pd.isna(value) else kind(value) for value in manifest[name]]
        for name, kind in (("fold", int), ("fs", float), ("n_samples", int))
    ]
    starts = [int(start) for start in manifest["start"].fillna(0)]
    return [Row(*values) for values in zip(*text, *numbers, starts, strict=True)]


def _file_state(path: str) -> list[int]:
    """Return size and time of the file and of the signal files that a WFDB header of that name stands for."""
    stem, suffix = os.path.splitext(path)
    paths = [path, stem + ".dat", stem + ".mat"] if suffix == ".hea" else [path]
    state = []
    for each in paths:
        with contextlib.suppress(OSError):
            found = os.stat(each)
            state += [found.st_size, found.st_mtime_ns]
    return state


def _unique(rows: Sequence[Row]) -> tuple[list[Row], list[list[str]]]:
    """Keep the first row of each record; the others are rejected."""
    kept: dict[tuple[str, str], Row] = {}
    rejected = []
    for row in rows:
        first = kept.setdefault((row.dataset, row.record_id), row)
        if first is not row:
            message = f"The record stands in the manifest twice; the first one, {first.path}, is used."
            rejected.append([row.dataset, row.record_id, row.path, "duplicate", message])
    return list(kept.values()), rejected


def _tasks(rows: list[Row], config: PrepareConfig, folder: Path, fingerprint: str) -> list[ShardTask]:
    """Cut the rows into shards. A shard belongs to rows of the manifest, so it does not depend on what is rejected."""
    size = config.shard_size
    parts = [tuple(rows[first : first + size]) for first in range(0, len(rows), size)]
    return [ShardTask(number, part, config, folder, fingerprint) for number, part in enumerate(parts)]


def _is_finished(folder: Path, fingerprint: str, n_shards: int) -> bool:
    if not (folder / "manifest.json").is_file() or read_manifest(folder)["fingerprint"] != fingerprint:
        return False
    return all(read_done(folder, number) for number in range(n_shards))


def _refuse_other_store(folder: Path, fingerprint: str) -> None:
    """A folder belongs to one manifest and one configuration, also while it is being filled."""
    for path in (folder / "manifest.json", *sorted(folder.glob("shard-*.json"))):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            other = files.read_json(path)["fingerprint"]
            if other != fingerprint:
                raise StoreError(
                    f"{folder} holds another store (fingerprint {other}, wanted {fingerprint}): the recordings or the "
                    "configuration changed. Choose another folder, or delete this one."
                )


def _bytes_needed(tasks: Sequence[ShardTask]) -> int:
    """Return an upper limit of what the shards take on the disk."""
    samples = sum(len(task.rows) * len(task.config.leads) * task.config.target_samples for task in tasks)
    text = 1000 * sum(len(task.rows) for task in tasks)
    return 2 * samples + text


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed} bytes wanted, {free} free")


@contextlib.contextmanager
def _disk_errors(folder: Path, needed: int) -> Iterator[None]:
    """Say in plain words what is wrong with the disk or the folder."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
            raise StoreError(
                f"The disk of {folder} is full: {needed / 1e9:.3f} GB needed, {free / 1e9:.3f} GB free. "
                "Make room and run the same command again; finished shards are kept."
            ) from error
        raise StoreError(
            f"{folder} cannot be written ({error}). Choose a folder where you may write, or change its permissions."
        ) from error


def _make_shards(tasks: Sequence[ShardTask], n_jobs: int) -> None:
    """Make the shards, in a pool of processes where there is more than one of each."""
    if n_jobs == 1 or len(tasks) < 2:
        for task in progress(tasks, title="Preparing shards"):
            _undisturbed(make_shard, task)
        return
    from joblib import Parallel, delayed, effective_n_jobs

    pool = Parallel(n_jobs=min(effective_n_jobs(n_jobs), len(tasks)), return_as="generator_unordered")
    results = pool(delayed(_undisturbed)(make_shard, task) for task in tasks)
    for _ in progress(results, total=len(tasks), title="Preparing shards"):
        pass


def _undisturbed(write: Callable[..., None], *arguments: Any) -> None:
    """Write again when a preparation that started meanwhile took a temporary file of ours for a leftover."""
    for attempt in range(ATTEMPTS):
        try:
            return write(*arguments)
        except FileNotFoundError:
            if attempt == ATTEMPTS - 1:
                raise


def _finish(tasks: Sequence[ShardTask], rejected: list[list[str]]) -> None:
    """Write the tables and, last of all, the manifest."""
    folder, config = tasks[0].folder, tasks[0].config
    done = [read_done(folder, task.number) or {} for task in tasks]
    records = [record for shard in done for record in shard["records"]]
    table = pd.DataFrame(records, columns=list(RECORD_COLUMNS))
    table["fold"] = table["fold"].astype("Int64")
    table.insert(0, "row", np.arange(len(table)))
    refused = [line for shard in done for line in shard["rejected"]] + rejected
    files.write_csv(folder / "rejected.csv", pd.DataFrame(refused, columns=list(REJECTED_COLUMNS)))
    if not records:
        raise StoreError(f"None of the {len(refused)} recordings can be used: {_reasons(refused)}. See rejected.csv.")
    files.write_csv(folder / "records.csv", table)
    shards = [{"n": len(shard["records"]), "files": shard["files"], "sha256": shard["sha256"]} for shard in done if shard["records"]]
    files.write_json(folder / "manifest.json", _manifest(config, tasks[0].fingerprint, len(records), shards, folder))


def _manifest(config: PrepareConfig, fingerprint: str, n: int, shards: list[Any], folder: Path) -> dict[str, Any]:
    settings = dataclasses.asdict(config)
    del settings["n_jobs"]
    tables = [
        {"name": name, "bytes": (folder / name).stat().st_size, "sha256": files.sha256_file(folder / name)}
        for name in ("records.csv", "rejected.csv")
    ]
    return {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "n_records": n,
        "n_leads": len(config.leads),
        "n_samples": config.target_samples,
        "fs": config.target_fs,
        "leads": config.leads,
        "dtype": config.store_dtype,
        "unit": "mV",
        "config": settings,
        "tables": tables,
        "shards": shards,
    }


def _reasons(rejected: Sequence[Sequence[str]]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in Counter(line[3] for line in rejected).most_common())


def _summarise(store: SignalStore) -> SignalStore:
    rejected = store.rejected
    why = f", {len(rejected)} rejected ({_reasons(rejected.values.tolist())})" if len(rejected) else ""
    say(f"Stored {len(store)} recordings in {store.folder}{why}.")
    return store
