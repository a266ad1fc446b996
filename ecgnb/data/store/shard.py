"""Make one shard of a signal store: read, standardise, quantise and write records.

A shard is complete when ``shard-000.json`` exists: it is written last, and every file
appears under its name in one step. The content depends on the manifest and the
configuration only, so two processes that make the same shard at once write the same
bytes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ecgnb.core import files
from ecgnb.core.errors import ReadError, StoreError, TryAgainError
from ecgnb.core.transient import refuse_to_conclude, refuse_transient
from ecgnb.data.cell_text import patient_id
from ecgnb.data.config import PrepareConfig
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.recording import Recording
from ecgnb.data.signal.standardise import standardise
from ecgnb.data.store.encoding import (
    quantise,
    shard_checksum,
    signal_hash,
    stored_hashes,
    write_npy_header,
)
from ecgnb.data.store.rows import Row

#: Columns of ``records.csv`` after the row number.
RECORD_COLUMNS = (
    "dataset",
    "record_id",
    "path",
    "patient_id",
    "fold",
    "original_fs",
    "original_samples",
    "valid_start",
    "valid_stop",
    "flags",
    "signal_hash",
)
REJECTED_COLUMNS = ("dataset", "record_id", "path", "reason", "message")
#: Between two flags of a recording; ``|`` separates the leads of one flag.
FLAG_SEPARATOR = ";"


class ShardRecords(NamedTuple):
    """Rows of a shard: values of `RECORD_COLUMNS` and `REJECTED_COLUMNS`, and scales
    (one float32 ``[n_leads]`` per record).
    """

    records: list[list[Any]]
    rejected: list[list[str]]
    scales: list[np.ndarray]


def make_shard(
    rows: Sequence[Row],
    config: PrepareConfig,
    folder: Path,
    number: int,
    fingerprint: str,
) -> None:
    """Prepare the recordings of one shard and write its three files.

    Args:
        rows: of the manifest, with the path of each recording.
        config: form of the stored signals, with leads.
        folder: of the store.
        number: of the shard, in the names of its files.
        fingerprint: of the store.

    Raises:
        OSError: the shard cannot be written; incomplete files are removed.
    """
    signals = folder / f"signals-{number:03d}.npy"
    scales = folder / f"scales-{number:03d}.npy"
    files.remove_file(_done_file(folder, number))
    with files.atomic_write(signals) as temporary, open(temporary, "wb") as file:
        shard = write_signals(file, rows, config)
    with files.atomic_write(scales) as temporary:
        table = np.array(shard.scales, dtype=np.float32)
        table = table.reshape(-1, len(config.leads))  # also without any record
        np.save(temporary, table, allow_pickle=False)
    signal_hashes = [record[-1] for record in shard.records]
    done = {
        "fingerprint": fingerprint,
        "files": [
            {"name": path.name, "bytes": path.stat().st_size}
            for path in (signals, scales)
        ],
        "sha256": shard_checksum(scales, signal_hashes),
        "records": shard.records,
        "rejected": shard.rejected,
    }
    files.write_sealed(_done_file(folder, number), done, indent=None)


def _done_file(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:03d}.json"


def read_done(folder: Path, number: int) -> dict[str, Any] | None:
    """Return ``shard-000.json`` of a shard, or ``None`` when the shard is incomplete or
    damaged.
    """
    try:
        done = files.read_sealed(_done_file(folder, number))
        paths = [folder / file["name"] for file in done["files"]]
        for path, file in zip(paths, done["files"], strict=True):
            if path.stat().st_size != file["bytes"]:
                return None
        checksum, _ = files.once_per_state(stored_hashes, *paths)
    except (StoreError, OSError, ValueError, KeyError, TypeError) as error:
        refuse_transient(error, _done_file(folder, number))
        return None
    return done if checksum == done["sha256"] else None


def write_signals(
    file: BinaryIO, rows: Sequence[Row], config: PrepareConfig
) -> ShardRecords:
    """Write the signals of a shard one by one; memory holds one recording at a time.

    A recording that cannot be used becomes a row of ``rejected``.

    Raises:
        TryAgainError: a recording cannot be read at the moment.
    """
    shard = ShardRecords([], [], [])
    shape = (len(config.leads), config.target_samples)
    stored = np.empty(shape, dtype=config.store_dtype)
    write_npy_header(file, (len(rows), *shape), config.store_dtype)
    for row, shared, offset in _with_shared_recordings(rows):
        try:
            if shared is None:
                recording = read_recording(
                    row.path, fs=row.fs, start=row.start, n_samples=row.n_samples
                )
            else:
                recording = _cut(shared, row, offset)
            standard = standardise(recording, config)
            scale = quantise(standard.signal, stored)
        except Exception as error:  # one bad recording never stops a preparation
            refuse_to_conclude(error, row.path)
            shard.rejected.append(
                [row.dataset, row.record_id, row.path, *_reason_and_message(error)]
            )
            continue
        file.write(stored.data)
        shard.scales.append(scale)
        shard.records.append(
            [
                row.dataset,
                row.record_id,
                row.path,
                row.patient_id or patient_id(recording.patient_id),
                row.fold,
                float(recording.fs),
                recording.n_samples,
                *standard.valid,
                FLAG_SEPARATOR.join(standard.flags),
                signal_hash(stored),
            ]
        )
    if shard.rejected:
        write_npy_header(file, (len(shard.records), *shape), config.store_dtype)
    return shard


def _with_shared_recordings(
    rows: Sequence[Row],
) -> Iterator[tuple[Row, Recording | None, int]]:
    """Read consecutive windows of one file at once.

    Yields:
        A row, the recording that contains its window and the first sample of that
        recording; ``None`` and 0 when the row must be read alone.
    """
    for path, group in itertools.groupby(rows, key=lambda row: row.path):
        windows = list(group)
        shared, first = None, 0
        if len(windows) > 1:
            first = min(row.start for row in windows)
            n_samples = None  # up to the end of the file
            stops = []
            for row in windows:
                if row.n_samples is not None:
                    stops.append(row.start + row.n_samples)
            if len(stops) == len(windows):
                n_samples = max(stops) - first
            try:
                shared = read_recording(
                    path, fs=windows[0].fs, start=first, n_samples=n_samples
                )
            except TryAgainError:
                raise
            except Exception:  # a window is bad: read each alone, with its own error
                shared = None
        for row in windows:
            yield row, shared, first


def _cut(recording: Recording, row: Row, offset: int) -> Recording:
    rest = recording.signal[:, row.start - offset :]
    return dataclasses.replace(recording, signal=rest[:, : row.n_samples])


def _reason_and_message(error: Exception) -> tuple[str, str]:
    """Return the reason and the message of a rejection, each on one line."""
    if isinstance(error, ReadError):
        return error.reason, " ".join(str(error).split())
    reason = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
    return reason, " ".join(f"{type(error).__name__}: {error}".split())
