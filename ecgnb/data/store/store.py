"""`SignalStore`: prepared signals in memory-mapped shards, read by row number."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgnb.core import files
from ecgnb.core.csv_cells import restore_cells
from ecgnb.core.errors import StoreError
from ecgnb.data.store.encoding import map_array, stored_hashes

#: Version of the layout; a store of another version is refused.
FORMAT = 1
#: Shards mapped at the same time. Each holds a file open, of which some systems allow a
#: process no more than 256.
MAX_MAPS = 128
_AGAIN = "Run the preparation again; it makes only what is missing or damaged."
#: Types of the columns of ``records.csv``; all others are text.
RECORD_TYPES = {
    "row": "int64",
    "fold": "Int64",
    "original_fs": "float64",
    "original_samples": "int64",
    "valid_start": "int64",
    "valid_stop": "int64",
}


class SignalStore:
    """Signals of one length, rate and lead order, read by row number.

    Open one with `SignalStore.open` or make one with
    `ecgnb.data.store.preparation.prepare_store`.

    Attributes:
        folder: of the store.
        manifest: content of ``manifest.json``.

    >>> folder = "artifacts/stores/ptbxl-0123456789ab"
    >>> store = SignalStore.open(folder)  # doctest: +SKIP
    >>> store.read([5, 3, 3]).shape  # doctest: +SKIP
    (3, 12, 5000)
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.n_leads = int(manifest["n_leads"])
        self.n_samples = int(manifest["n_samples"])
        self.fs = float(manifest["fs"])
        self.leads: tuple[str, ...] = tuple(manifest["leads"])
        self.fingerprint: str = manifest["fingerprint"]
        self.dtype = np.dtype(manifest["dtype"])
        self._shards: list[dict[str, Any]] = manifest["shards"]
        #: First row of each shard, and the number of rows at the end.
        self._starts = np.cumsum([0] + [shard["n"] for shard in self._shards])
        self._maps: OrderedDict[int, np.ndarray] = OrderedDict()
        self._verified: set[int] = set()  # shards
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: str | Path) -> SignalStore:
        """Open a finished store; signals are mapped, not loaded.

        Raises:
            StoreError: no store, an unfinished one, one of another version, or a file
                is missing or has another size. Each shard is compared with its
                checksum when it is first read.
        """
        folder = Path(folder)
        manifest = _read_store_manifest(folder)
        described = list(manifest["tables"])
        for shard in manifest["shards"]:
            described += shard["files"]
        for file in described:
            path = folder / file["name"]
            size = path.stat().st_size if path.is_file() else 0
            if size != file["bytes"]:
                raise StoreError(
                    f"{path} has {size} bytes in place of {file['bytes']}: the store "
                    f"is damaged. {_AGAIN}"
                )
        return cls(folder, manifest)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __reduce__(self) -> tuple[Any, ...]:
        return SignalStore.open, (self.folder,)

    def __repr__(self) -> str:
        return (
            f"SignalStore({self.folder.name!r}, {len(self)} x {self.n_leads} leads x "
            f"{self.n_samples} samples at {self.fs:g} Hz, {self.dtype})"
        )

    @cached_property
    def records(self) -> pd.DataFrame:
        """One row per stored record: row, dataset, record_id, path, patient_id, fold,
        original_fs, ... (see the docs).
        """
        self.verify_tables()
        return _read_table(self.folder / "records.csv")

    @cached_property
    def rejected(self) -> pd.DataFrame:
        """One row per recording that is not in the store, with the reason."""
        self.verify_tables()
        return _read_table(self.folder / "rejected.csv")

    @cached_property
    def scales(self) -> np.ndarray:
        """Millivolts per step: float32 ``[n, n_leads]``."""
        scales = []
        for shard in self._shards:
            _, path = self._paths(shard)
            scales.append(map_array(path))
        return np.concatenate(scales)

    @cached_property
    def content(self) -> str:
        """Hash of signals, records and patients; it does not change when the recordings
        are copied or moved.
        """
        names = ["dataset", "record_id", "patient_id", "fold"]
        content = {
            "config": self.manifest["config"],
            "records": self.records[names].astype(str).to_numpy().tolist(),
            "shards": [shard["sha256"] for shard in self._shards],
        }
        return files.fingerprint(content)

    def read(self, rows: Any, out: np.ndarray | None = None) -> np.ndarray:
        """Gather signals by row number, in any order, repeated or not.

        Args:
            rows: ``[B]`` row numbers.
            out: float32 array of the result's shape to write into, which saves its
                allocation.

        Returns:
            float32 ``[B, n_leads, n_samples]`` in mV.

        Raises:
            StoreError: a row is not in the store, or its shard is damaged.
        """
        rows = self._check(rows)
        if out is None:
            out = np.empty((len(rows), self.n_leads, self.n_samples), dtype=np.float32)
        scales = self.scales[rows][:, :, None]  # [B, n_leads, 1], mV per step
        for index, stored in self._gather(rows):
            signal = out[index]
            signal[...] = stored  # converts to float32
            signal *= scales[index]
        return out

    def raw(self, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """Gather stored numbers and their scales; ``numbers * scales`` is in mV.

        Returns:
            int16 or float16 ``[B, n_leads, n_samples]`` and float32 ``[B, n_leads,
            1]``.
        """
        rows = self._check(rows)
        out = np.empty((len(rows), self.n_leads, self.n_samples), dtype=self.dtype)
        for index, stored in self._gather(rows):
            out[index] = stored
        return out, self.scales[rows][:, :, None]

    def valid(self, rows: Any) -> np.ndarray:
        """Return int64 ``[B, 2]``: the first recorded sample and the one after the
        last; the rest is padding.
        """
        return self._valid[self._check(rows)]

    def verify(self) -> None:
        """Compare every signal, scale and table with its checksum.

        Raises:
            StoreError: something is missing or differs.
        """
        self.verify_tables()
        for number in range(len(self._shards)):
            self._verify_shard(number)

    def verify_tables(self) -> None:
        """Compare the tables with their checksums, see `verify`."""
        for table in self.manifest["tables"]:
            path = self.folder / table["name"]
            if files.once_per_state(files.sha256_file, path) != table["sha256"]:
                raise StoreError(f"{path} was changed. {_AGAIN}")

    def _verify_shard(self, number: int) -> None:
        """Compare the signals and scales of a shard with their checksum."""
        shard = self._shards[number]
        signals, scales = self._paths(shard)
        checksum, hashes = files.once_per_state(stored_hashes, signals, scales)
        if checksum == shard["sha256"]:
            return
        first = self._starts[number]
        expected = self.records["signal_hash"][first : first + len(hashes)]
        wrong = np.flatnonzero(np.array(hashes) != expected.to_numpy())
        where = f"row {first + wrong[0]}" if len(wrong) else "its scales"
        raise StoreError(f"{signals} is damaged ({where}). {_AGAIN}")

    def _paths(self, shard: dict[str, Any]) -> list[Path]:
        """Return the files of a shard: signals and scales."""
        return [self.folder / file["name"] for file in shard["files"]]

    @cached_property
    def _valid(self) -> np.ndarray:
        return self.records[["valid_start", "valid_stop"]].to_numpy(dtype=np.int64)

    def _check(self, rows: Any) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64).reshape(-1)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise StoreError(
                f"Rows {rows.min()} to {rows.max()} are not in the store "
                f"{self.folder}, which has {len(self)} records. They belong to another "
                "store: make the splits again."
            )
        return rows

    def _gather(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield an index into ``rows`` and its stored signal, in order on the disk."""
        order = np.argsort(rows, kind="stable")
        in_order = rows[order]
        shards = np.searchsorted(self._starts, in_order, side="right") - 1
        offsets = in_order - self._starts[shards]
        # Plain integers index faster than numpy's.
        numbers = zip(order.tolist(), shards.tolist(), offsets.tolist(), strict=True)
        for index, shard, offset in numbers:
            yield index, self._map(shard)[offset]

    def _map(self, number: int) -> np.ndarray:
        """Return the mapped signals of a shard; the least recently used are closed."""
        with self._lock:
            if number in self._maps:
                self._maps.move_to_end(number)
                return self._maps[number]
            while len(self._maps) >= MAX_MAPS:
                self._maps.popitem(last=False)
            shard = self._shards[number]
            path, _ = self._paths(shard)
            mapped = map_array(path)
            shape = (shard["n"], self.n_leads, self.n_samples)
            if mapped.shape != shape or mapped.dtype != self.dtype:
                raise StoreError(
                    f"{path} holds {mapped.dtype} {mapped.shape}, but the store's "
                    f"manifest states {self.dtype} {shape}. {_AGAIN}"
                )
            if number not in self._verified:
                self._verify_shard(number)
                self._verified.add(number)
            self._maps[number] = mapped
            return self._maps[number]


def _read_store_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        state = "does not exist"
        if any(folder.glob("shard-*.json")):
            state = "is not finished"
        raise StoreError(
            f"The signal store {folder} {state}. Run the preparation; it continues "
            "where it stopped."
        )
    try:
        manifest: dict[str, Any] = files.read_json(path)
        version = manifest["format"]
        if version == FORMAT:
            files.require_seal(manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} is not the manifest of a signal store ({error}). Delete {folder} "
            "and prepare again."
        ) from error
    if version != FORMAT:
        raise StoreError(
            f"{folder} has layout {version}, this ecgnb reads {FORMAT}. Delete it and "
            "prepare again."
        )
    return manifest


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table of the store; text stays text, also numbers and empty cells."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    table = restore_cells(table)
    for name, kind in RECORD_TYPES.items():
        if name in table:
            numbers: pd.Series = pd.to_numeric(table[name], errors="coerce")
            table[name] = numbers.astype(kind)  # type: ignore[call-overload]
    return table
