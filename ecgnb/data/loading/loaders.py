"""Loader: batches from a signal store, without worker processes.

A batch is gathered from the memory map by index in one operation, by one thread that
stays a few batches ahead; a store that fits on the GPU is copied there once and
gathered there. The functions of `ecgnb.data.loading.sampler` decide which records and
windows make up a batch, so an epoch can be entered at any batch.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from ecgnb.core.errors import ConfigError
from ecgnb.data.loading.sampler import (
    Slice,
    check_weights,
    count_batches,
    epoch_order,
    patient_order,
    rank_slice,
    window_starts,
)

T = TypeVar("T")

#: Batches that the reading thread keeps ready.
DEPTH = 2
#: Largest part of the free memory of a GPU for a resident store.
RESIDENT_FRACTION = 0.5


class Store(Protocol):
    """Interface of a store; `ecgnb.data.store.store.SignalStore` has it."""

    n_leads: int
    n_samples: int

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return float32 ``[B, n_leads, n_samples]`` in mV."""
        ...

    def raw(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the stored numbers ``[B, n_leads, n_samples]`` and their factors to
        mV.
        """
        ...

    def valid(self, rows: np.ndarray) -> np.ndarray:
        """Return int64 ``[B, 2]``: the first recorded sample and the one after the
        last.
        """
        ...


@dataclass
class Batch:
    """Some records, as tensors on the device.

    Attributes:
        signal: float32 ``[B, n_leads, n_samples]`` in mV.
        target: int64 ``[B]`` class numbers, or float32 ``[B, n_classes]`` of zeros and
            ones.
        mask: bool ``[B, n_samples]``, true where a sample was recorded and not padded.
        index: int64 ``[B]`` rows of the store.
        metadata: further tensors, one row per record: ``patient`` int64 ``[B]`` where
            the loader knows patients.
        windows: float32 ``[B, V, n_leads, window_samples]``, V windows of each record,
            or None from a loader without windows.
        window_mask: bool ``[B, V, window_samples]``, the mask of the windows.
        n_local: records that count: ``B``, or 0 for a record that an empty rank
            borrowed.
        n_global: records of the batch over all ranks.
    """

    signal: Tensor
    target: Tensor
    mask: Tensor
    index: Tensor
    metadata: dict[str, Tensor] = field(default_factory=dict)
    windows: Tensor | None = None
    window_mask: Tensor | None = None
    n_local: int = -1
    n_global: int = -1

    def __post_init__(self) -> None:
        if self.n_local < 0:
            self.n_local = len(self.index)
        if self.n_global < 0:
            self.n_global = self.n_local

    def __len__(self) -> int:
        return len(self.index)


class Loader:
    """Batches of some rows of a store.

    Args:
        store: the signals.
        rows: int64 ``[n]`` rows of the store.
        targets: ``[n]`` class numbers or ``[n, n_classes]`` of zeros and ones, one per
            row; ``None`` without labels.
        batch_size: records per batch and rank.
        seed: seed of the order and the windows.
        shuffle: another permutation each epoch; otherwise the order of ``rows``.
        weights: ``[n]`` sampling weights, one per row, for unbalanced classes; rows are
            drawn with replacement.
        patients: int64 ``[n]`` group numbers, equal for records of one patient. With
            ``shuffle`` and ``records_per_patient`` above 1, records of one patient come
            in the same batch.
        records_per_patient: largest number of records of one patient in a group.
        window_samples: length of the windows; 0 draws none.
        windows_per_record: windows of each record in ``batch.windows``.
        device: device of the batches.
        rank: number of this process.
        world_size: number of processes; the parts of all ranks make the batch of one
            process with ``batch_size * world_size``.
        resident: keep the rows on the device; ``"auto"``: on a GPU whose free memory is
            at least twice their size.

    Raises:
        ConfigError: no rows, rows outside the store, lengths that do not agree, or
            windows that are longer than the signals.

    >>> loader = Loader(store, rows, targets, batch_size=32)  # doctest: +SKIP
    >>> for batch in loader.epoch(0): ...  # doctest: +SKIP
    """

    def __init__(
        self,
        store: Store,
        rows: np.ndarray,
        targets: np.ndarray | None,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        weights: np.ndarray | None = None,
        patients: np.ndarray | None = None,
        records_per_patient: int = 1,
        window_samples: int = 0,
        windows_per_record: int = 2,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world_size: int = 1,
        resident: bool | Literal["auto"] = "auto",
    ) -> None:
        self.store = store
        self.rows = _check_rows(rows, len(store))
        self.targets = _check_targets(targets, len(self.rows))
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.weights = weights
        if weights is not None:
            self.weights = check_weights(weights, len(self.rows))
        self.patients = patients
        self.records_per_patient = records_per_patient
        self.window_samples = window_samples
        self.windows_per_record = windows_per_record
        self.device = torch.device(device)
        self.rank = rank
        self.world_size = world_size
        if batch_size < 1:
            raise ConfigError(f"The batch size is {batch_size}; it must be at least 1.")
        if window_samples > store.n_samples:
            raise ConfigError(
                f"Windows of {window_samples} samples are longer than the stored "
                f"signals ({store.n_samples} samples). Lower WINDOW_SAMPLES."
            )
        self.resident = self._fits_on_device() if resident == "auto" else resident
        self._cache: dict[str, Tensor] | None = None

    @property
    def n_records(self) -> int:
        """Records of an epoch, over all ranks."""
        return len(self.rows)

    def __len__(self) -> int:
        """Batches of an epoch, the same number on every rank."""
        return count_batches(len(self.rows), self.batch_size, self.world_size)

    def batch_rows(self, epoch: int, batch: int) -> np.ndarray:
        """Return the store rows of one batch over all ranks, int64 ``[n_global]``,
        without reading a signal.
        """
        size = self.batch_size * self.world_size
        first = batch * size
        positions = self._order(epoch)[first : first + size]
        return self.rows[positions]

    def part(self, batch: int) -> Slice:
        """Return the part of the epoch's order that is batch ``batch`` of this rank."""
        return rank_slice(
            len(self.rows),
            batch,
            self.batch_size,
            self.rank,
            self.world_size,
        )

    def not_finite(self, rows: np.ndarray) -> np.ndarray:
        """Return those of ``rows`` whose signals contain NaN or infinities."""
        is_finite = np.isfinite(self.store.read(rows)).all(axis=(1, 2))
        return rows[~is_finite]

    def epoch(self, epoch: int, start_batch: int = 0) -> Generator[Batch, None, None]:
        """Iterate over the batches of one epoch, from batch number ``start_batch`` on.

        An error while reading is raised here, in the thread of the caller. Closing the
        iterator early ends the reading thread.
        """
        order = self._order(epoch)
        parts = [self.part(number) for number in range(start_batch, len(self))]
        pieces = (self._read(order[part.start : part.stop], epoch) for part in parts)
        # a resident store is gathered on the device, without a thread
        with closing(pieces if self.resident else prefetch(pieces)) as ready:
            for part, piece in zip(parts, ready, strict=True):
                yield self._batch(piece, part)

    def _order(self, epoch: int) -> np.ndarray:
        if self.patients is not None and self.shuffle:
            return patient_order(
                self.patients,
                seed=self.seed,
                epoch=epoch,
                records_per_patient=self.records_per_patient,
                batch_size=self.batch_size,
            )
        return epoch_order(
            len(self.rows),
            seed=self.seed,
            epoch=epoch,
            shuffle=self.shuffle,
            weights=self.weights,
        )

    def _read(self, positions: np.ndarray, epoch: int) -> dict[str, Tensor]:
        """Gather some records: on the device where the store is resident, otherwise in
        host memory, by the reading thread.
        """
        if self.resident:
            chosen = self._move(torch.from_numpy(positions))
            piece = {}
            for name, tensor in self._resident_tensors().items():
                piece[name] = tensor.index_select(0, chosen)
        else:
            piece = self._gather(positions)
        if self.window_samples:
            rows = self.rows[positions]
            starts = window_starts(
                self.store.valid(rows),
                rows,
                self.windows_per_record,
                self.window_samples,
                seed=self.seed,
                epoch=epoch,
            )
            # Of a short record, the window may include padding before its start.
            last = self.store.n_samples - self.window_samples
            piece["starts"] = torch.from_numpy(np.minimum(starts, last))
        if self.device.type == "cuda" and not self.resident:
            # Pinned memory is copied to the GPU while the GPU computes.
            for name, tensor in piece.items():
                piece[name] = tensor.pin_memory()
        return piece

    def _gather(self, positions: np.ndarray) -> dict[str, Tensor]:
        rows = self.rows[positions]
        arrays: dict[str, Any] = {
            "target": self.targets[positions],
            "valid": np.ascontiguousarray(self.store.valid(rows), dtype=np.int64),
            "index": rows,
        }
        if self.patients is not None:
            arrays["patient"] = self.patients[positions]
        if self.device.type == "cpu":
            arrays["signal"] = self.store.read(rows)
        else:  # half the bytes to transfer; the GPU converts them to mV
            arrays["raw"], arrays["scales"] = self.store.raw(rows)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _move(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=self.device.type == "cuda")

    def _move_all(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: self._move(tensor) for name, tensor in tensors.items()}

    def _fits_on_device(self) -> bool:
        if self.device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self.device)
        needed = 2 * len(self.rows) * self.store.n_leads * self.store.n_samples  # int16
        return needed < RESIDENT_FRACTION * free

    def _resident_tensors(self) -> dict[str, Tensor]:
        """Copy all rows to the device, on the first call."""
        if self._cache is None:
            self._cache = self._move_all(self._gather(np.arange(len(self.rows))))
        return self._cache

    def _batch(self, piece: dict[str, Tensor], part: Slice) -> Batch:
        piece = self._move_all(piece)
        signal = piece.get("signal")
        if signal is None:
            signal = decode(piece["raw"], piece["scales"])
        batch = Batch(
            signal=signal,
            target=piece["target"],
            mask=valid_mask(piece["valid"], signal.shape[-1]),
            index=piece["index"],
            n_local=part.n_local,
            n_global=part.n_global,
        )
        if "patient" in piece:
            batch.metadata["patient"] = piece["patient"]
        if "starts" in piece:
            starts, length = piece["starts"], self.window_samples
            batch.windows = cut_windows(signal, starts, length)
            batch.window_mask = cut_windows(batch.mask[:, None], starts, length)[
                :, :, 0
            ]
        return batch


def decode(raw: Tensor, scales: Tensor) -> Tensor:
    """Convert stored numbers ``[B, n_leads, n_samples]`` to float32 mV, with factors
    ``[B]`` or ``[B, n_leads]``.
    """
    scales = scales.to(torch.float32).reshape(len(raw), -1, 1)
    return raw.to(torch.float32).mul_(scales)


def valid_mask(valid: Tensor, n_samples: int) -> Tensor:
    """Return bool ``[B, n_samples]``, true from ``valid[:, 0]`` up to and without
    ``valid[:, 1]``.
    """
    time = torch.arange(n_samples, device=valid.device)
    return (time >= valid[:, :1]) & (time < valid[:, 1:])


def cut_windows(signal: Tensor, starts: Tensor, length: int) -> Tensor:
    """Cut windows out of signals.

    Args:
        signal: ``[B, n_leads, n_samples]``.
        starts: int64 ``[B, V]``, first samples of the windows.
        length: samples per window.

    Returns:
        ``[B, V, n_leads, length]``.
    """
    time = starts[..., None] + torch.arange(length, device=starts.device)
    n_leads, n_windows = signal.shape[1], starts.shape[1]
    index = time[:, :, None].expand(-1, -1, n_leads, -1)
    return signal[:, None].expand(-1, n_windows, -1, -1).gather(-1, index)


def prefetch(items: Iterator[T], depth: int = DEPTH) -> Generator[T, None, None]:
    """Yield the items of an iterator that one thread runs up to ``depth`` items ahead.

    An exception of the iterator is raised here, after the items before it. When this
    generator is closed or collected the thread ends; closing waits for the item that is
    being read.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def work() -> None:
        """Fill the queue until the items end, one fails, or the consumer stops."""
        try:
            for item in items:
                ready.put(("item", item))
                if stopped.is_set():
                    return
            ready.put(("end", None))
        except BaseException as error:
            ready.put(("error", error))

    thread = threading.Thread(target=work, name="ecgnb-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stopped.set()
        while thread.is_alive():  # it may wait for room in the queue
            while not ready.empty():
                ready.get_nowait()
            thread.join(timeout=0.01)


def _check_rows(rows: np.ndarray, n_stored: int) -> np.ndarray:
    rows = np.ascontiguousarray(rows, dtype=np.int64)
    if rows.ndim != 1 or not rows.size:
        raise ConfigError(
            "A loader needs at least one row of the store, "
            f"got an array of shape {rows.shape}."
        )
    if rows.min() < 0 or rows.max() >= n_stored:
        raise ConfigError(
            f"Rows {rows.min()} to {rows.max()} do not all exist in a store with "
            f"{n_stored} records. The splits belong to another store: make them again."
        )
    return rows


def _check_targets(targets: np.ndarray | None, n: int) -> np.ndarray:
    if targets is None:
        return np.zeros(n, dtype=np.int64)
    targets = np.asarray(targets)
    if len(targets) != n:
        raise ConfigError(
            f"There are {n} rows but {len(targets)} targets: give one target per row, "
            "in the same order."
        )
    dtype = np.int64 if targets.ndim == 1 else np.float32  # classes, or zeros and ones
    return np.ascontiguousarray(targets, dtype=dtype)
