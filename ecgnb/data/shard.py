"""One shard of a signal store: read, standardise, quantise and write some recordings.

A shard is whole when its done-file ``shard-000.json`` is there: that is written last, and every file appears under its
name in one step. What a shard holds depends on the manifest and the configuration alone, so two processes that make
the same shard at once write the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecgnb import files
from ecgnb.data.reading import read_recording
from ecgnb.data.recording import Recording
from ecgnb.data.standardise import PrepareConfig, Standardised, standardise
from ecgnb.errors import ReadError

#: Columns of ``records.csv`` and of the records in a done-file, but for the row number that comes first.
RECORD_COLUMNS = (
    "dataset", "record_id", "path", "patient_id", "fold", "original_fs", "original_samples",
    "valid_start", "valid_stop", "flags", "signal_hash",
)  # fmt: skip
REJECTED_COLUMNS = ("dataset", "record_id", "path", "reason", "message")
#: Between two flags of a recording; ``|`` stands between the leads of one flag.
FLAG_SEPARATOR = ";"
#: Largest value, in mV, that is stored as float16 without a scale.
FLOAT16_LIMIT = 60_000.0


class Row(NamedTuple):
    """What the preparation needs of a row of the manifest; ``n_samples`` ``None`` means up to the end."""

    dataset: str
    record_id: str
    path: str
    patient_id: str
    fold: int | None
    fs: float | None
    n_samples: int | None
    start: int


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
    config = task.config
    signals = np.empty((len(task.rows), len(config.leads), config.target_samples), dtype=config.store_dtype)
    scales = np.empty(signals.shape[:2], dtype=np.float32)
    records: list[list[Any]] = []
    rejected: list[list[str]] = []
    for row, recording in _recordings(task.rows):
        try:
            if isinstance(recording, Exception):
                raise recording
            ready = standardise(recording, config)
            scales[len(records)] = quantise(ready.signal, signals[len(records)])
        except Exception as error:  # one bad recording never stops a preparation
            rejected.append([row.dataset, row.record_id, row.path, *_explain(error)])
        else:
            records.append(_record(row, recording, ready, signals[len(records)]))
    kept = len(records)
    written = [_write(task, "signals", signals[:kept]), _write(task, "scales", scales[:kept])] if kept else []
    done = {"fingerprint": task.fingerprint, "files": written, "records": records, "rejected": rejected}
    files.write_text(task.folder / f"shard-{task.name}.json", json.dumps(done, ensure_ascii=False) + "\n")


def read_done(folder: Path, number: int) -> dict[str, Any] | None:
    """Return the done-file of a shard, or ``None`` where the shard is not whole."""
    try:
        done: dict[str, Any] = files.read_json(folder / f"shard-{number:03d}.json")
        whole = all((folder / file["name"]).stat().st_size == file["bytes"] for file in done["files"])
    except (OSError, ValueError, KeyError):
        return None
    return done if whole else None


def quantise(signal: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write float32 ``[n_leads, n_samples]`` (mV) into ``out`` and return the scale a lead, float32 ``[n_leads]``.

    ``signal = out * scale``. With int16 a lead's largest magnitude is 32767 steps, so the error is at most half of
    1/32767 of it: as fine as the 16-bit converter that the signal came from. float16 has scale 1.
    """
    peak = np.maximum(signal.max(axis=1), -signal.min(axis=1))
    if out.dtype == np.int16:
        scale = np.where(peak > 0, peak / np.float32(32767), np.float32(1)).astype(np.float32)
    else:
        scale = np.maximum(peak / np.float32(FLOAT16_LIMIT), np.float32(1)).astype(np.float32)
    steps = signal * (np.float32(1) / scale)[:, None]
    if out.dtype == np.int16:
        np.rint(steps, out=steps)
        np.clip(steps, -32767, 32767, out=steps)  # rounding of 1/scale may reach one step further
    out[...] = steps
    return scale


def signal_hash(stored: np.ndarray) -> str:
    """Return the SHA-1 of a record's stored numbers.

    The scale is left out: the same recording with another gain is the same recording.
    """
    return hashlib.sha1(stored.data, usedforsecurity=False).hexdigest()


def _recordings(rows: Sequence[Row]) -> Iterator[tuple[Row, Recording | Exception]]:
    """Read the rows in order; neighbours that are windows of one file share one reading."""
    for path, group in itertools.groupby(rows, key=lambda row: row.path):
        windows = list(group)
        shared = _read(path, *_span(windows), windows[0].fs) if len(windows) > 1 else None
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


def _read(path: str, start: int, n_samples: int | None, fs: float | None) -> Recording | Exception:
    try:
        return read_recording(path, fs=fs, start=start, n_samples=n_samples)
    except Exception as error:
        return error


def _cut(recording: Recording, row: Row, offset: int) -> Recording:
    first = row.start - offset
    stop = None if row.n_samples is None else first + row.n_samples
    return dataclasses.replace(recording, signal=recording.signal[:, first:stop])


def _record(row: Row, recording: Recording, ready: Standardised, stored: np.ndarray) -> list[Any]:
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


def _write(task: ShardTask, what: str, array: np.ndarray) -> dict[str, Any]:
    name = f"{what}-{task.name}.npy"
    with files.atomic_write(task.folder / name) as temporary:
        np.save(temporary, array, allow_pickle=False)
        described = {"name": name, "bytes": temporary.stat().st_size, "sha256": files.sha256_file(temporary)}
    return described
