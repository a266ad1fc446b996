"""One shard of a signal store: read, standardise, quantise and write some recordings.

A shard is whole when its done-file ``shard-000.json`` is there: that is written last,
and every file appears under its name in one step. What a shard holds depends on the
manifest and the configuration alone, so two processes that make the same shard at once
write the same bytes.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ecgnb.core import files
from ecgnb.core.errors import ReadError
from ecgnb.data.config import PrepareConfig
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.recording import Recording
from ecgnb.data.signal.standardise import Standardised, standardise
from ecgnb.data.store.rows import Row
from ecgnb.data.store.store import (
    quantise,
    shard_checksum,
    signal_hash,
    write_npy_header,
)

#: Columns of ``records.csv`` and of the records in a done-file, but for the row number
#: that comes first.
RECORD_COLUMNS = (
    "dataset", "record_id", "path", "patient_id", "fold", "original_fs", "original_samples",
    "valid_start", "valid_stop", "flags", "signal_hash",
)  # fmt: skip
REJECTED_COLUMNS = ("dataset", "record_id", "path", "reason", "message")
#: Between two flags of a recording; ``|`` stands between the leads of one flag.
FLAG_SEPARATOR = ";"


@dataclass(frozen=True)
class ShardTask:
    """A shard to make: its number, its rows of the manifest, and where it goes."""

    number: int
    rows: tuple[Row, ...]
    config: PrepareConfig
    folder: Path
    fingerprint: str

    @property
    def name(self) -> str:
        """Number as it stands in the file names."""
        return f"{self.number:03d}"


def make_shard(task: ShardTask) -> None:
    """Prepare all recordings of a shard and write its signals, scales and done-file.

    Raises:
        OSError: the shard cannot be written; nothing half-written stays behind.
    """
    signals, scales = (
        task.folder / f"{what}-{task.name}.npy" for what in ("signals", "scales")
    )
    with files.atomic_write(signals) as temporary, open(temporary, "wb") as file:
        filled = _fill(file, task)
    with files.atomic_write(scales) as temporary:
        rows = np.array(filled.scales, dtype=np.float32).reshape(
            -1, len(task.config.leads)
        )
        np.save(temporary, rows, allow_pickle=False)
    done = {
        "fingerprint": task.fingerprint,
        "files": [
            {"name": path.name, "bytes": path.stat().st_size}
            for path in (signals, scales)
        ],
        "sha256": shard_checksum(scales, [record[-1] for record in filled.records]),
        "records": filled.records,
        "rejected": filled.rejected,
    }
    files.write_text(
        task.folder / f"shard-{task.name}.json",
        json.dumps(done, ensure_ascii=False) + "\n",
    )


def read_done(folder: Path, number: int) -> dict[str, Any] | None:
    """Return the done-file of a shard, or ``None`` where the shard is not whole."""
    try:
        done: dict[str, Any] = files.read_json(folder / f"shard-{number:03d}.json")
        whole = all(
            (folder / file["name"]).stat().st_size == file["bytes"]
            for file in done["files"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return done if whole else None


class _Filled(NamedTuple):
    """What came of the rows of a shard."""

    records: list[list[Any]]
    rejected: list[list[str]]
    scales: list[np.ndarray]


def _fill(file: BinaryIO, task: ShardTask) -> _Filled:
    """Write the signals one after the other, so that memory holds one recording
    whatever the size of the shard.
    """
    filled = _Filled([], [], [])
    dtype, shape = (
        task.config.store_dtype,
        (len(task.config.leads), task.config.target_samples),
    )
    stored = np.empty(shape, dtype=dtype)
    write_npy_header(file, (len(task.rows), *shape), dtype)
    for row, recording in _recordings(task.rows):
        try:
            if isinstance(recording, Exception):
                raise recording
            ready = standardise(recording, task.config)
            scale = quantise(ready.signal, stored)
        except Exception as error:  # one bad recording never stops a preparation
            filled.rejected.append(
                [row.dataset, row.record_id, row.path, *_explain(error)]
            )
            continue
        file.write(stored.data)
        filled.scales.append(scale)
        filled.records.append(_record(row, recording, ready, stored))
    if filled.rejected:
        write_npy_header(file, (len(filled.records), *shape), dtype)
    return filled


def _recordings(rows: Sequence[Row]) -> Iterator[tuple[Row, Recording | Exception]]:
    """Read the rows in order; neighbours that are windows of one file share one
    reading.
    """
    for path, group in itertools.groupby(rows, key=lambda row: row.path):
        windows = list(group)
        shared = (
            _read(path, *_span(windows), windows[0].fs) if len(windows) > 1 else None
        )
        for row in windows:
            if isinstance(shared, Recording):
                yield row, _cut(shared, row, _span(windows)[0])
            else:  # one row of its own, or a window is bad: then each stands for itself
                yield row, _read(path, row.start, row.n_samples, row.fs)


def _span(windows: Sequence[Row]) -> tuple[int, int | None]:
    """Return the first sample and the number of samples that cover all windows."""
    first = min(row.start for row in windows)
    stops = [row.start + row.n_samples for row in windows if row.n_samples is not None]
    return first, max(stops) - first if len(stops) == len(windows) else None


def _read(
    path: str, start: int, n_samples: int | None, fs: float | None
) -> Recording | Exception:
    try:
        return read_recording(path, fs=fs, start=start, n_samples=n_samples)
    except Exception as error:
        return error


def _cut(recording: Recording, row: Row, offset: int) -> Recording:
    first = row.start - offset
    stop = None if row.n_samples is None else first + row.n_samples
    return dataclasses.replace(recording, signal=recording.signal[:, first:stop])


def _record(
    row: Row, recording: Recording, ready: Standardised, stored: np.ndarray
) -> list[Any]:
    patient = row.patient_id or recording.patient_id
    return [
        row.dataset, row.record_id, row.path, patient, row.fold, float(recording.fs), recording.n_samples,
        *ready.valid, FLAG_SEPARATOR.join(ready.flags), signal_hash(stored),
    ]  # fmt: skip


def _explain(error: Exception) -> tuple[str, str]:
    """Return the reason and the message of a rejection, each on one line."""
    if isinstance(error, ReadError):
        return error.reason, " ".join(str(error).split())
    reason = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
    return reason, " ".join(f"{type(error).__name__}: {error}".split())
