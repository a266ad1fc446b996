"""Loader: batches from a signal store, without worker processes.

A batch is gathered from the memory map by index in one operation, by one thread that
stays a few batches ahead; a store that fits on the GPU is copied there once and
gathered there. The functions of `ecgnb.data.loading.sampler` decide which records and
windows make up a batch, so an epoch can be entered at any batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
        """Return stored numbers ``[B, n_leads, n_samples]`` and factors to mV."""
        ...

    def valid(self, rows: np.ndarray) -> np.ndarray:
        """Return int64 ``[B, 2]``: first recorded sample and the one after the last."""
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
        n_local: records that count: ``B``, or 0 for a record that an empty rank
            borrowed.
        n_global: records of the batch over all ranks.
        metadata: further tensors, one row per record: ``patient`` int64 ``[B]`` where
            the loader knows patients.
        windows: float32 ``[B, V, n_leads, window_samples]``, V windows of each record,
            or None from a loader without windows.
        window_mask: bool ``[B, V, window_samples]``, the mask of the windows.
    """

    signal: Tensor
    target: Tensor
    mask: Tensor
    index: Tensor
    n_local: int
    n_global: int
    metadata: dict[str, Tensor] = field(default_factory=dict)
    windows: Tensor | None = None
    window_mask: Tensor | None = None

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
        """Return the store rows of one batch over all ranks, int64 ``[n_global]``."""
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
        signal = self.store.read(rows)
        is_finite = np.isfinite(signal).all(axis=(1, 2))
        return rows[~is_finite]

    def epoch(self, epoch: int, start_batch: int = 0) -> Generator[Batch, None, None]:
        """Iterate over the batches of one epoch, from batch number ``start_batch`` on.

        An error while reading is raised here, in the thread of the caller. Closing the
        iterator early ends the reading thread.
        """
        order = self._order(epoch)
        parts = [self.part(batch) for batch in range(start_batch, len(self))]
        pieces = (self._read(order[part.start : part.stop], epoch) for part in parts)
        if not self.resident:  # a resident store needs no thread
            pieces = prefetch(pieces)
        with closing(pieces):
            for part, piece in zip(parts, pieces, strict=True):
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
        """Gather some records, on the device where the store is resident."""
        if self.resident:
            chosen = torch.from_numpy(positions).to(self.device)
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

    def _to_device(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        moved = {}
        on_gpu = self.device.type == "cuda"
        for name, tensor in tensors.items():
            moved[name] = tensor.to(self.device, non_blocking=on_gpu)
        return moved

    def _fits_on_device(self) -> bool:
        if self.device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self.device)
        n_numbers = len(self.rows) * self.store.n_leads * self.store.n_samples
        return 2 * n_numbers < RESIDENT_FRACTION * free  # bytes of int16

    def _resident_tensors(self) -> dict[str, Tensor]:
        """Copy all rows to the device, on the first call."""
        if self._cache is None:
            everything = np.arange(len(self.rows))
            self._cache = self._to_device(self._gather(everything))
        return self._cache

    def _batch(self, piece: dict[str, Tensor], part: Slice) -> Batch:
        piece = self._to_device(piece)
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
            masks = cut_windows(batch.mask[:, None], starts, length)
            batch.windows = cut_windows(signal, starts, length)
            batch.window_mask = masks[:, :, 0]  # [B, V, window_samples]
        return batch


def decode(raw: Tensor, scales: Tensor) -> Tensor:
    """Convert stored numbers ``[B, n_leads, n_samples]`` to float32 mV, with factors
    ``[B]`` or ``[B, n_leads]``.
    """
    scales = scales.to(torch.float32)
    scales = scales.reshape(len(raw), -1, 1)  # [B, n_leads or 1, 1]
    return raw.to(torch.float32).mul_(scales)


def valid_mask(valid: Tensor, n_samples: int) -> Tensor:
    """Return bool ``[B, n_samples]``: ``valid[:, 0]`` is the first true sample."""
    time = torch.arange(n_samples, device=valid.device)
    start, stop = valid.split(1, dim=1)  # each [B, 1]
    return (time >= start) & (time < stop)


def cut_windows(signal: Tensor, starts: Tensor, length: int) -> Tensor:
    """Return windows ``[B, V, n_leads, length]`` of signals.

    Args:
        signal: ``[B, n_leads, n_samples]``.
        starts: int64 ``[B, V]``, first samples of the windows.
        length: samples per window.
    """
    n_leads, n_windows = signal.shape[1], starts.shape[1]
    offsets = torch.arange(length, device=starts.device)
    time = starts[:, :, None, None] + offsets  # [B, V, 1, length]
    index = time.expand(-1, -1, n_leads, -1)
    copies = signal[:, None].expand(-1, n_windows, -1, -1)  # a view
    return copies.gather(-1, index)


def prefetch(items: Iterator[T], depth: int = DEPTH) -> Generator[T, None, None]:
    """Yield the items of an iterator that one thread runs up to ``depth`` items ahead.

    An exception of the iterator is raised here, after the items before it. When this
    generator is closed or collected the thread ends, after the item that it is reading.
    """
    end: Any = object()
    with ThreadPoolExecutor(1, thread_name_prefix="ecgnb-prefetch") as reader:
        waiting: deque[Future[Any]] = deque()
        for _ in range(depth + 1):  # one more, which is being read
            waiting.append(reader.submit(next, items, end))
        try:
            while True:
                item = waiting.popleft().result()
                if item is end:
                    return
                waiting.append(reader.submit(next, items, end))
                yield item
        finally:
            reader.shutdown(cancel_futures=True)


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
