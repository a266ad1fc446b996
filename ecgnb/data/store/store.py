"""`SignalStore`: prepared signals in memory-mapped shards."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from ecgnb.core import files
from ecgnb.core.errors import StoreError

#: Largest value, in mV, that is stored as float16 without a scale.
FLOAT16_LIMIT = 60_000.0


def quantise(signal: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write float32 ``[n_leads, n_samples]`` (mV) into ``out`` and return the scale a
    lead, float32 ``[n_leads]``.

    ``signal = out * scale``. With int16 a lead's largest magnitude is 32767 steps, so
    the error is at most half of 1/32767 of it: as fine as the 16-bit converter that the
    signal came from. float16 has scale 1.
    """
    peak = np.maximum(signal.max(axis=1), -signal.min(axis=1))
    whole = out.dtype == np.int16
    if whole:
        scale = np.where(peak > 0, peak / np.float32(32767), np.float32(1)).astype(
            np.float32
        )
    else:
        scale = np.maximum(peak / np.float32(FLOAT16_LIMIT), np.float32(1)).astype(
            np.float32
        )
    steps = signal * (np.float32(1) / scale)[:, None]
    # Rounding of 1 / scale moves the peak by far less than half a step, so 32767 is not
    # passed.
    out[...] = np.rint(steps, out=steps) if whole else steps
    return scale


def signal_hash(stored: np.ndarray) -> str:
    """Return the SHA-1 of a record's stored numbers.

    The scale is left out: the same recording with another gain is the same recording.
    """
    return hashlib.sha1(stored.data, usedforsecurity=False).hexdigest()


def shard_checksum(scales: Path, signal_hashes: Sequence[str]) -> str:
    """Return the SHA-256 of a shard: of its file of scales and of the hashes of its
    signals in order.
    """
    digest = hashlib.sha256(scales.read_bytes())
    digest.update("\n".join(signal_hashes).encode())
    return digest.hexdigest()


def write_npy_header(file: BinaryIO, shape: tuple[int, ...], dtype: str) -> None:
    """Write the header of an ``.npy`` file at its beginning.

    It can be written again with another first dimension: numpy leaves room for it to
    grow.
    """
    file.seek(0)
    description = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, description)


#: Version of the layout; a store of another version is made anew.
FORMAT = 1
#: Shards mapped at the same time. Each holds a file open, of which some systems allow a
#: process no more than 256.
MAX_MAPS = 128
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
        folder: where the store lies.
        manifest: what ``manifest.json`` says.

    >>> store = SignalStore.open("artifacts/stores/ptbxl-0123456789ab")  # doctest: +SKIP
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
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: str | Path) -> SignalStore:
        """Open a finished store; signals are mapped, not loaded.

        Raises:
            StoreError: no store, an unfinished one, one of another version, or a file
                is missing or has another size.
        """
        folder = Path(folder)
        store = cls(folder, read_manifest(folder))
        for file in store._files():
            path = folder / file["name"]
            size = path.stat().st_size if path.is_file() else 0
            if size != file["bytes"]:
                raise StoreError(
                    f"{path} has {size} bytes in place of {file['bytes']}: the store is damaged. "
                    "Run the preparation again; it makes only what is missing."
                )
        return store

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __reduce__(self) -> tuple[Any, ...]:
        return SignalStore.open, (self.folder,)

    def __repr__(self) -> str:
        shape = f"{len(self)} x {self.n_leads} leads x {self.n_samples} samples at {self.fs:g} Hz"
        return f"SignalStore({self.folder.name!r}, {shape}, {self.dtype})"

    @cached_property
    def records(self) -> pd.DataFrame:
        """A row a stored record: row, dataset, record_id, path, patient_id, fold,
        original_fs, ... (see the docs).
        """
        return _read_table(self.folder / "records.csv")

    @cached_property
    def rejected(self) -> pd.DataFrame:
        """A row a recording that is not in the store, with the reason."""
        return _read_table(self.folder / "rejected.csv")

    @cached_property
    def scales(self) -> np.ndarray:
        """Millivolts a step: float32 ``[n, n_leads]``."""
        parts = [
            np.load(self._path(shard, "scales"), allow_pickle=False)
            for shard in self._shards
        ]
        return np.concatenate(parts)

    @cached_property
    def content(self) -> str:
        """Hash of what is stored and whose it is; copying or moving the recordings does
        not change it.
        """
        names = ["dataset", "record_id", "patient_id", "fold"]
        records = self.records[names].astype(str).to_numpy().tolist()
        sums = [shard["sha256"] for shard in self._shards]
        return files.fingerprint(
            {"config": self.manifest["config"], "records": records, "shards": sums}
        )

    def read(self, rows: Any, out: np.ndarray | None = None) -> np.ndarray:
        """Gather signals by row number, in any order, repeated or not.

        Args:
            rows: ``[B]`` row numbers.
            out: float32 array of the result's shape to write into, which saves its
                allocation.

        Returns:
            float32 ``[B, n_leads, n_samples]`` in mV.

        Raises:
            StoreError: a row is not in the store.
        """
        rows = self._check(rows)
        if out is None:
            out = np.empty((len(rows), self.n_leads, self.n_samples), dtype=np.float32)
        scales = self.scales[rows][:, :, None]
        for place, stored in self._gather(rows):
            signal = out[place]
            signal[...] = stored
            signal *= scales[place]
        return out

    def raw(self, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """Gather stored numbers and their scales; ``numbers * scales`` is the signal in
        mV.

        Returns:
            int16 or float16 ``[B, n_leads, n_samples]`` and float32 ``[B, n_leads,
            1]``.
        """
        rows = self._check(rows)
        out = np.empty((len(rows), self.n_leads, self.n_samples), dtype=self.dtype)
        for place, stored in self._gather(rows):
            out[place] = stored
        return out, self.scales[rows][:, :, None]

    def valid(self, rows: Any) -> np.ndarray:
        """Return int64 ``[B, 2]``: the first recorded sample and the one after the
        last; the rest is padding.
        """
        return self._valid[self._check(rows)]

    def arrays(self) -> Iterator[np.ndarray]:
        """Yield the stored numbers shard by shard, ``[n, n_leads, n_samples]``,
        read-only and mapped.
        """
        return (self._map(number) for number in range(len(self._shards)))

    def verify(self) -> None:
        """Compare every signal, scale and table with its checksum.

        Raises:
            StoreError: something is missing or differs.
        """
        for number, shard in enumerate(self._shards):
            hashes = [signal_hash(signal) for signal in self._map(number)]
            if shard_checksum(self._path(shard, "scales"), hashes) != shard["sha256"]:
                told = self.records["signal_hash"].iloc[
                    self._starts[number] : self._starts[number + 1]
                ]
                wrong = [
                    row
                    for row, (now, then) in enumerate(zip(hashes, told, strict=True))
                    if now != then
                ]
                where = (
                    f"row {self._starts[number] + wrong[0]}" if wrong else "its scales"
                )
                raise StoreError(
                    f"{self._path(shard, 'signals')} is damaged ({where}). {self._mend()}"
                )
        for table in self.manifest["tables"]:
            if files.sha256_file(self.folder / table["name"]) != table["sha256"]:
                raise StoreError(
                    f"{self.folder / table['name']} was changed. {self._mend()}"
                )

    def _mend(self) -> str:
        return f"Delete {self.folder} and run the preparation again."

    def _path(self, shard: dict[str, Any], what: str) -> Path:
        """Return the file of a shard's "signals" or "scales"."""
        return self.folder / str(
            shard["files"][("signals", "scales").index(what)]["name"]
        )

    @cached_property
    def _valid(self) -> np.ndarray:
        return self.records[["valid_start", "valid_stop"]].to_numpy(dtype=np.int64)

    def _files(self) -> list[dict[str, Any]]:
        return [
            file for shard in self._shards for file in shard["files"]
        ] + self.manifest["tables"]

    def _check(self, rows: Any) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64).reshape(-1)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise StoreError(
                f"Rows {rows.min()} to {rows.max()} were asked of a store with {len(self)} records ({self.folder}). "
                "The rows belong to another store: make the splits again."
            )
        return rows

    def _gather(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield places in ``rows`` and their stored signals, in the order in which they
        lie on the disk.
        """
        order = np.argsort(rows, kind="stable")
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        offsets = rows - self._starts[shards]
        for place, shard, offset in zip(
            order.tolist(), shards[order].tolist(), offsets[order].tolist(), strict=True
        ):
            yield place, self._map(shard)[offset]

    def _map(self, number: int) -> np.ndarray:
        with self._lock:
            if number in self._maps:
                self._maps.move_to_end(number)
                return self._maps[number]
            while len(self._maps) >= MAX_MAPS:
                self._maps.popitem(last=False)
            self._maps[number] = self._load(number)
            return self._maps[number]

    def _load(self, number: int) -> np.ndarray:
        shard = self._shards[number]
        path = self._path(shard, "signals")
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if (
            mapped.shape != (shard["n"], self.n_leads, self.n_samples)
            or mapped.dtype != self.dtype
        ):
            raise StoreError(
                f"{path} holds {mapped.dtype} {mapped.shape}, not what its manifest says. {self._mend()}"
            )
        return mapped.view(np.ndarray)  # a plain array is indexed faster than a memmap


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return ``manifest.json`` of a store.

    Raises:
        StoreError: it is missing, damaged or of another version.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        begun = any(folder.glob("shard-*.json"))
        what = "was begun, but not finished" if begun else "is not there"
        raise StoreError(
            f"The signal store {folder} {what}. Run the preparation; it goes on where it stopped."
        )
    try:
        manifest: dict[str, Any] = files.read_json(path)
        version = manifest["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is not the manifest of a signal store ({error}). Delete {folder} and prepare again."
        ) from error
    if version != FORMAT:
        raise StoreError(
            f"{folder} has layout {version}, this ecgnb reads {FORMAT}. Delete it and prepare again."
        )
    return manifest


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table of the store; text stays text, also where it looks like a number or
    is empty.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    kinds = {name: kind for name, kind in RECORD_TYPES.items() if name in table}
    return table.assign(
        **{name: pd.to_numeric(table[name], errors="coerce") for name in kinds}
    ).astype(kinds)
