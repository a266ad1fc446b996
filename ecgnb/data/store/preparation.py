"""From a manifest to a `SignalStore`: in parallel, shard by shard, and after a kill
from where it stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgnb.core import files
from ecgnb.core.errors import StoreError
from ecgnb.core.progress import progress, say
from ecgnb.data.config import PrepareConfig
from ecgnb.data.signal.standardise import Standardised, standardise
from ecgnb.data.store.rows import (
    Row,
    limit_records,
    manifest_rows,
    store_fingerprint,
    unique_rows,
    with_leads,
)
from ecgnb.data.store.shard import (
    RECORD_COLUMNS,
    REJECTED_COLUMNS,
    ShardTask,
    make_shard,
    read_done,
)
from ecgnb.data.store.store import FORMAT, SignalStore, read_manifest

__all__ = [
    "Standardised",
    "limit_records",
    "prepare_store",
    "standardise",
    "store_fingerprint",
    "with_leads",
]

#: Times that a file is written again when its temporary file was swept away: by a
#: preparation of the same store on another computer that shares the disk, which cannot
#: see that this process lives.
ATTEMPTS = 3


def prepare_store(
    manifest: pd.DataFrame, config: PrepareConfig, folder: str | Path
) -> SignalStore:
    """Read, check, resample and store all recordings of a manifest.

    A recording that cannot be used is named in ``rejected.csv`` and stops nothing.
    Called again after an interruption it makes only the shards that are missing; called
    again when all is done it opens the store. The files depend on the manifest, the
    recordings and ``config`` alone, not on ``n_jobs`` or on interruptions.

    Args:
        manifest: one row a recording, as `ecgnb.data.catalog.find_records` gives it.
        config: the form of the stored signals.
        folder: where the store goes, a folder of its own.

    Raises:
        StoreError: the manifest is empty or lacks columns, no recording can be used,
            the folder holds another store, cannot be written or has too little space.
    """
    folder = Path(folder)
    config = with_leads(manifest, config)
    fingerprint = store_fingerprint(manifest, config)
    rows, rejected = unique_rows(manifest_rows(manifest))
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


def _tasks(
    rows: list[Row], config: PrepareConfig, folder: Path, fingerprint: str
) -> list[ShardTask]:
    """Cut the rows into shards. A shard belongs to rows of the manifest, so it does not
    depend on what is rejected.
    """
    size = config.shard_size
    parts = [tuple(rows[first : first + size]) for first in range(0, len(rows), size)]
    return [
        ShardTask(number, part, config, folder, fingerprint)
        for number, part in enumerate(parts)
    ]


def _is_finished(folder: Path, fingerprint: str, n_shards: int) -> bool:
    try:
        manifest = read_manifest(folder)
        tables = all(
            (folder / file["name"]).stat().st_size == file["bytes"]
            for file in manifest["tables"]
        )
    except (
        StoreError,
        OSError,
    ):  # not begun, not finished or damaged: what is missing is made
        return False
    return (
        tables
        and manifest["fingerprint"] == fingerprint
        and all(read_done(folder, n) for n in range(n_shards))
    )


def _refuse_other_store(folder: Path, fingerprint: str) -> None:
    """A folder belongs to one manifest and one configuration, also while it is being
    filled.
    """
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
    samples = sum(
        len(task.rows) * len(task.config.leads) * task.config.target_samples
        for task in tasks
    )
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
        if error.errno in files.DISK_FULL:
            free = shutil.disk_usage(
                next(p for p in (folder, *folder.parents) if p.exists())
            ).free
            raise StoreError(
                f"The disk of {folder} is full: {needed / 1e6:,.2f} MB needed, {free / 1e6:,.2f} MB free. "
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
    from joblib.parallel import get_active_backend

    # Some back ends (ray, multiprocessing) hand over all results at the end, without
    # progress.
    streams = get_active_backend()[0].supports_return_generator
    workers = min(effective_n_jobs(n_jobs), len(tasks))
    pool = Parallel(
        n_jobs=workers, return_as="generator_unordered" if streams else "list"
    )
    results = pool(delayed(_undisturbed)(make_shard, task) for task in tasks)
    for _ in progress(results, total=len(tasks), title="Preparing shards"):
        pass


def _undisturbed(write: Callable[..., None], *arguments: Any) -> None:
    """Write again when a preparation elsewhere took a temporary file of ours for a
    leftover.
    """
    for attempt in range(ATTEMPTS):
        try:
            write(*arguments)
            return
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
    files.write_csv(
        folder / "rejected.csv", pd.DataFrame(refused, columns=list(REJECTED_COLUMNS))
    )
    if not records:
        raise StoreError(
            f"None of the {len(refused)} recordings can be used: {_reasons(refused)}. See {folder / 'rejected.csv'}."
        )
    files.write_csv(folder / "records.csv", table)
    shards = [
        {"n": len(shard["records"]), "files": shard["files"], "sha256": shard["sha256"]}
        for shard in done
        if shard["records"]
    ]
    files.write_json(
        folder / "manifest.json",
        _manifest(config, tasks[0].fingerprint, len(records), shards, folder),
    )


def _manifest(
    config: PrepareConfig, fingerprint: str, n: int, shards: list[Any], folder: Path
) -> dict[str, Any]:
    settings = dataclasses.asdict(config)
    del settings["n_jobs"]
    tables = [
        {
            "name": name,
            "bytes": (folder / name).stat().st_size,
            "sha256": files.sha256_file(folder / name),
        }
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
    return ", ".join(
        f"{count} {reason}"
        for reason, count in Counter(line[3] for line in rejected).most_common()
    )


def _summarise(store: SignalStore) -> SignalStore:
    rejected = store.rejected
    why = (
        f", {len(rejected)} rejected ({_reasons(rejected.values.tolist())})"
        if len(rejected)
        else ""
    )
    say(f"Stored {len(store)} recordings in {store.folder}{why}.")
    return store
