"""Batches from a signal store, without worker processes.

A batch is gathered from the memory map by index in one operation, by one thread that
stays a few batches ahead; a store that fits on the GPU is copied there once and
gathered there. Which records make up which batch is told by the pure functions of
`ecgnb.data.loading.sampling`, so an epoch can be entered at any batch.
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
from ecgnb.data.loading.sampling import (
    Slice,
    check_weights,
    count_batches,
    epoch_order,
    rank_slice,
)

T = TypeVar("T")

#: Items that the thread keeps ready.
DEPTH = 2


def prefetch(items: Iterator[T], depth: int = DEPTH) -> Generator[T, None, None]:
    """Yield the items of an iterator that one thread runs up to ``depth`` items ahead.

    An exception of the iterator is raised here, at its place in the sequence. When this
    generator is closed or thrown away the thread ends; closing waits for the item that
    is being made.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def work() -> None:
        """Fill the queue until the items end, one of them fails, or nobody wants
        more.
        """
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


#: Part of the free memory of a GPU that a resident store may take.
RESIDENT_FRACTION = 0.5


class Store(Protocol):
    """What a loader asks of a store; `ecgnb.data.store.store.SignalStore` is one."""

    n_leads: int
    n_samples: int

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return float32 ``[B, n_leads, n_samples]`` in mV."""
        ...

    def raw(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what is stored, ``[B, n_leads, n_samples]``, and the factors that turn
        it into mV.
        """
        ...

    def valid(self, rows: np.ndarray) -> np.ndarray:
        """Return int64 ``[B, 2]``: first sample that was recorded and the one after the
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
        metadata: further tensors, a row a record.
        n_local: records that count: ``B``, or 0 for a record that an empty rank
            borrowed.
        n_global: records of the batch over all ranks.
    """

    signal: Tensor
    target: Tensor
    mask: Tensor
    index: Tensor
    metadata: dict[str, Tensor] = field(default_factory=dict)
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
        store: where the signals are.
        rows: int64 ``[n]`` rows of the store.
        targets: ``[n]`` class numbers or ``[n, n_classes]`` of zeros and ones, one a
            row; ``None`` without labels.
        batch_size: records a batch on each rank.
        seed: seed of the order.
        shuffle: another permutation each epoch; otherwise the order of ``rows``.
        weights: ``[n]`` chances of being drawn (with replacement), one a row, for
            unbalanced classes.
        device: where the batches are wanted.
        rank: number of this process.
        world_size: number of processes; the parts of all ranks make the batch of one
            process with ``batch_size * world_size``.
        resident: keep the rows on the device; ``"auto"``: on a GPU whose free memory is
            at least twice their size.

    Raises:
        ConfigError: no rows, rows outside the store, or lengths that do not agree.

    >>> loader = Loader(store, rows, targets, batch_size=32, seed=0, shuffle=True)  # doctest: +SKIP
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
        device: str | torch.device = "cpu",
        rank: int = 0,
        world_size: int = 1,
        resident: bool | Literal["auto"] = "auto",
    ) -> None:
        self.store = store
        self.rows = _check_rows(rows, len(store))
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self.weights = (
            None if weights is None else check_weights(weights, len(self.rows))
        )
        self.device = torch.device(device)
        self.rank, self.world_size = rank, world_size
        self.targets = _check_targets(targets, len(self.rows))
        if batch_size < 1:
            raise ConfigError(f"The batch size is {batch_size}; it must be at least 1.")
        self.resident = self._fits() if resident == "auto" else resident
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
        return self.rows[self._order(epoch)[batch * size : (batch + 1) * size]]

    def part(self, batch: int) -> Slice:
        """Return which part of the epoch's order batch number ``batch`` is on this
        rank.
        """
        return rank_slice(
            len(self.rows), batch, self.batch_size, self.rank, self.world_size
        )

    def not_finite(self, rows: np.ndarray) -> np.ndarray:
        """Return those of ``rows`` whose signals hold NaN or infinities, to find out
        why a loss did.
        """
        return rows[~np.isfinite(self.store.read(rows)).all(axis=(1, 2))]

    def epoch(self, epoch: int, start_batch: int = 0) -> Generator[Batch, None, None]:
        """Iterate over the batches of one epoch, from batch number ``start_batch`` on.

        An error while reading is raised here, in the thread of the caller. Closing the
        iterator early ends the reading thread.
        """
        order = self._order(epoch)
        parts = [self.part(number) for number in range(start_batch, len(self))]
        if self.resident:
            cache = self._resident_tensors()
            for part in parts:
                yield self._batch(
                    self._pick(cache, order[part.start : part.stop]), part
                )
            return
        read = (self._read(order[part.start : part.stop]) for part in parts)
        with closing(prefetch(read)) as pieces:
            for part, piece in zip(parts, pieces, strict=True):
                yield self._batch(
                    {name: self._move(tensor) for name, tensor in piece.items()}, part
                )

    def _order(self, epoch: int) -> np.ndarray:
        return epoch_order(
            len(self.rows),
            seed=self.seed,
            epoch=epoch,
            shuffle=self.shuffle,
            weights=self.weights,
        )

    def _read(self, positions: np.ndarray) -> dict[str, Tensor]:
        """Gather some records into host memory; the thread runs this."""
        rows = self.rows[positions]
        piece = {
            "target": torch.from_numpy(self.targets[positions]),
            "valid": torch.from_numpy(
                np.ascontiguousarray(self.store.valid(rows), dtype=np.int64)
            ),
            "index": torch.from_numpy(rows),
        }
        if self.device.type == "cpu":
            piece["signal"] = torch.from_numpy(self.store.read(rows))
        else:  # half the bytes to transfer; the GPU turns them into mV
            raw, scales = self.store.raw(rows)
            piece["raw"], piece["scales"] = (
                torch.from_numpy(raw),
                torch.from_numpy(scales),
            )
        if self.device.type == "cuda":
            piece = {name: tensor.pin_memory() for name, tensor in piece.items()}
        return piece

    def _move(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=self.device.type == "cuda")

    def _fits(self) -> bool:
        if self.device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self.device)
        return (
            2 * len(self.rows) * self.store.n_leads * self.store.n_samples
            < RESIDENT_FRACTION * free
        )

    def _resident_tensors(self) -> dict[str, Tensor]:
        """Copy all rows to the device, on the first call."""
        if self._cache is None:
            raw, scales = self.store.raw(self.rows)
            tensors: dict[str, Any] = {
                "raw": raw,
                "scales": scales,
                "valid": np.asarray(self.store.valid(self.rows), dtype=np.int64),
                "target": self.targets,
                "index": self.rows,
            }
            self._cache = {
                name: torch.as_tensor(tensor).to(self.device)
                for name, tensor in tensors.items()
            }
        return self._cache

    def _pick(
        self, cache: dict[str, Tensor], positions: np.ndarray
    ) -> dict[str, Tensor]:
        chosen = self._move(torch.from_numpy(positions))
        return {name: tensor.index_select(0, chosen) for name, tensor in cache.items()}

    def _batch(self, piece: dict[str, Tensor], part: Slice) -> Batch:
        signal = (
            piece["signal"]
            if "signal" in piece
            else decode(piece["raw"], piece["scales"])
        )
        return Batch(
            signal=signal,
            target=piece["target"],
            mask=valid_mask(piece["valid"], signal.shape[-1]),
            index=piece["index"],
            n_local=part.n_local,
            n_global=part.n_global,
        )


def decode(raw: Tensor, scales: Tensor) -> Tensor:
    """Turn stored numbers ``[B, n_leads, n_samples]`` into float32 mV, with factors
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


def _check_rows(rows: np.ndarray, n_stored: int) -> np.ndarray:
    rows = np.ascontiguousarray(rows, dtype=np.int64)
    if rows.ndim != 1 or not rows.size:
        raise ConfigError(
            f"A loader needs at least one row of the store, got an array of shape {rows.shape}."
        )
    if rows.min() < 0 or rows.max() >= n_stored:
        raise ConfigError(
            f"Rows {rows.min()} to {rows.max()} were asked of a store with {n_stored} records. "
            "The splits belong to another store: make them again."
        )
    return rows


def _check_targets(targets: np.ndarray | None, n: int) -> np.ndarray:
    if targets is None:
        return np.zeros(n, dtype=np.int64)
    targets = np.asarray(targets)
    if len(targets) != n:
        raise ConfigError(
            f"There are {n} rows but {len(targets)} targets: give one target a row, in the same order."
        )
    return np.ascontiguousarray(
        targets, dtype=np.int64 if targets.ndim == 1 else np.float32
    )
