"""Prepare a `SignalStore` from a manifest: parallel, shard by shard, resumable."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend

from ecgnb.core import files
from ecgnb.core.errors import StoreError
from ecgnb.core.locks import exclusive
from ecgnb.core.progress import progress, say
from ecgnb.core.transient import is_transient, refuse_transient
from ecgnb.data.config import PrepareConfig
from ecgnb.data.readers.base import READERS, Reader
from ecgnb.data.store.rows import (
    Row,
    manifest_rows,
    store_fingerprint,
    unique_rows,
    with_leads,
)
from ecgnb.data.store.shard import (
    RECORD_COLUMNS,
    REJECTED_COLUMNS,
    make_shard,
    read_done,
)
from ecgnb.data.store.store import FORMAT, SignalStore

#: Attempts to write the store. A preparation of the same store on another computer that
#: shares the disk may remove a temporary file, since it cannot see this process.
ATTEMPTS = 3


def prepare_store(
    manifest: pd.DataFrame, config: PrepareConfig, folder: str | Path
) -> SignalStore:
    """Read, check, resample and store all recordings of a manifest.

    A recording that cannot be used becomes a row of ``rejected.csv``. After an
    interruption only the missing shards are made; a finished store is opened. The files
    depend on the manifest, the recordings and ``config`` only, not on ``n_jobs`` or on
    interruptions.

    Args:
        manifest: one row per recording, from `ecgnb.data.catalog.find_records`.
        config: form of the stored signals.
        folder: of this store alone.

    Raises:
        StoreError: the manifest is empty or lacks columns, no recording can be used,
            the folder holds another store, cannot be written or has too little space.
        TryAgainError: a recording cannot be read at the moment; the finished shards are
            kept, and the same call continues.
    """
    folder = Path(folder)
    config = with_leads(manifest, config)
    fingerprint = store_fingerprint(manifest, config)
    rows, duplicates = unique_rows(manifest_rows(manifest))
    # A shard holds consecutive rows of the manifest, whatever is rejected later.
    starts = range(0, len(rows), config.shard_size)
    shards = [rows[start : start + config.shard_size] for start in starts]
    store = _open_finished(folder, fingerprint, len(shards))
    if store is not None:
        return store
    lock = folder.with_name(f"{folder.name}.lock")
    with _disk_errors_explained(folder, 0), exclusive(lock, f"The store {folder}"):
        store = _open_finished(folder, fingerprint, len(shards))
        if store is None:  # no other process has made it meanwhile
            store = _make_store(shards, duplicates, config, folder, fingerprint)
    return store


def _make_store(
    shards: Sequence[Sequence[Row]],
    duplicates: list[list[str]],
    config: PrepareConfig,
    folder: Path,
    fingerprint: str,
) -> SignalStore:
    """Make what is missing of a store."""
    _refuse_other_store(folder, fingerprint)
    needed = _bytes_needed(shards, config, folder)
    with _disk_errors_explained(folder, needed):
        folder.mkdir(parents=True, exist_ok=True)
        files.remove_leftovers(folder)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise OSError(errno.ENOSPC, f"{needed} bytes needed, {free} free")
        files.remove_file(folder / "manifest.json")  # first: the store is unfinished
        for attempt in range(ATTEMPTS):
            try:
                _make_missing_shards(shards, config, folder, fingerprint)
                _write_tables(len(shards), config, folder, fingerprint, duplicates)
                break
            except FileNotFoundError:  # another preparation removed a temporary file
                if attempt == ATTEMPTS - 1:
                    raise
    store = SignalStore.open(folder)
    why = ""
    if len(store.rejected):
        reasons = _count_reasons(store.rejected["reason"])
        why = f", {len(store.rejected)} rejected ({reasons})"
    say(f"Stored {len(store)} recordings in {folder}{why}.")
    return store


def _open_finished(folder: Path, fingerprint: str, n_shards: int) -> SignalStore | None:
    """Return the store when it is complete, undamaged and has this fingerprint."""
    try:
        store = SignalStore.open(folder)
        store.verify_tables()
    except (StoreError, OSError) as error:  # missing, incomplete or damaged
        refuse_transient(error, folder)
        return None
    if store.fingerprint != fingerprint or _missing(n_shards, folder):
        return None
    return store


def _refuse_other_store(folder: Path, fingerprint: str) -> None:
    """Raise when the folder holds another store, also an unfinished one."""
    for path in (folder / "manifest.json", *sorted(folder.glob("shard-*.json"))):
        try:
            other = files.read_json(path)["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            refuse_transient(error, path)
            continue
        if other != fingerprint:
            raise StoreError(
                f"{folder} holds another store (fingerprint {other}, wanted "
                f"{fingerprint}): the recordings or the configuration changed. Choose "
                "another folder, or delete this one."
            )


def _missing(n_shards: int, folder: Path) -> list[int]:
    """Return the shards that are not complete; the others are compared with their
    checksums, once in a process.
    """
    missing = []
    for number in progress(range(n_shards), title="Checking shards"):
        if read_done(folder, number) is None:
            missing.append(number)
    return missing


def _bytes_needed(
    shards: Sequence[Sequence[Row]], config: PrepareConfig, folder: Path
) -> int:
    """Return an upper limit of the size of the missing shards."""
    n_records = sum([len(shards[number]) for number in _missing(len(shards), folder)])
    signal = 2 * len(config.leads) * config.target_samples  # bytes of int16 or float16
    text = 1000  # bytes of its rows in tables and shard files
    return n_records * (signal + text)


@contextlib.contextmanager
def _disk_errors_explained(folder: Path, needed: int) -> Iterator[None]:
    """Raise a `StoreError` that explains what is wrong with the disk or the folder."""
    try:
        yield
    except OSError as error:
        if error.errno not in files.DISK_FULL:
            advice = "Choose a folder where you may write, or change its permissions."
            if is_transient(error):
                advice = "It may pass: run the same again; finished shards are kept."
            raise StoreError(
                f"{folder} cannot be written ({error}). {advice}"
            ) from error
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        raise StoreError(
            f"The disk of {folder} is full: {needed / 1e6:,.2f} MB needed, "
            f"{free / 1e6:,.2f} MB free. Make room and run the same command again; "
            "finished shards are kept."
        ) from error


def _make_missing_shards(
    shards: Sequence[Sequence[Row]],
    config: PrepareConfig,
    folder: Path,
    fingerprint: str,
) -> None:
    """Make the shards that are not complete, in a pool where there are several."""
    missing = _missing(len(shards), folder)
    if not missing:
        return
    # Some back ends (ray, multiprocessing) return all results at the end, without
    # progress.
    streams = get_active_backend()[0].supports_return_generator
    pool = Parallel(
        n_jobs=min(effective_n_jobs(config.n_jobs), len(missing)),
        return_as="generator_unordered" if streams else "list",
    )
    readers = {name: READERS.get(name) for name in READERS}
    made = pool(
        delayed(_make_shard_with)(
            readers, shards[number], config, folder, number, fingerprint
        )
        for number in missing
    )
    for _ in progress(made, total=len(missing), title="Preparing shards"):
        pass


def _make_shard_with(readers: dict[str, type[Reader]], *arguments: Any) -> None:
    """Call `make_shard`; a new process lacks the readers of a notebook."""
    for name, reader in readers.items():
        if name not in READERS:
            READERS.register(name)(reader)
    make_shard(*arguments)


def _write_tables(
    n_shards: int,
    config: PrepareConfig,
    folder: Path,
    fingerprint: str,
    duplicates: list[list[str]],
) -> None:
    """Write ``records.csv``, ``rejected.csv`` and, last of all, ``manifest.json``."""
    records: list[list[Any]] = []
    rejected: list[list[str]] = []
    shards = []
    for number in range(n_shards):
        done = read_done(folder, number)
        if done is None:
            raise FileNotFoundError(errno.ENOENT, f"shard {number} is missing", folder)
        n_records = len(done["records"])
        records += done["records"]
        rejected += done["rejected"]
        if n_records:
            shard = {"n": n_records, "files": done["files"], "sha256": done["sha256"]}
            shards.append(shard)
    rejected += duplicates
    rejected_path = folder / "rejected.csv"
    files.write_csv(rejected_path, pd.DataFrame(rejected, columns=REJECTED_COLUMNS))
    if not records:
        reasons = _count_reasons([row[3] for row in rejected])
        raise StoreError(
            f"None of the {len(rejected)} recordings can be used: {reasons}. See "
            f"{rejected_path}."
        )
    table = pd.DataFrame(records, columns=RECORD_COLUMNS)
    table["fold"] = table["fold"].astype("Int64")
    table.insert(0, "row", np.arange(len(table)))
    files.write_csv(folder / "records.csv", table)
    settings = dataclasses.asdict(config)
    del settings["n_jobs"]
    manifest = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "n_records": len(records),
        "n_leads": len(config.leads),
        "n_samples": config.target_samples,
        "fs": config.target_fs,
        "leads": config.leads,
        "dtype": config.store_dtype,
        "unit": "mV",
        "config": settings,
        "tables": [_described(folder / "records.csv"), _described(rejected_path)],
        "shards": shards,
    }
    files.write_sealed(folder / "manifest.json", manifest)


def _described(path: Path) -> dict[str, Any]:
    return {
        "name": path.name,
        "bytes": path.stat().st_size,
        "sha256": files.sha256_file(path),
    }


def _count_reasons(reasons: Iterable[str]) -> str:
    counts = Counter(reasons).most_common()
    return ", ".join(f"{count} {reason}" for reason, count in counts)
