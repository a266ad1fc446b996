"""The zip container that `torch.save` writes since PyTorch 1.6.

One folder of any name holds ``data.pkl`` (the values), ``data/<key>`` (a storage each,
uncompressed), ``byteorder`` and ``version``. Source: ``torch/serialization.py`` and
``caffe2/serialize/inline_container.h``.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from ecgnb.checkpoints.constructors import brief
from ecgnb.checkpoints.opcodes import interpret
from ecgnb.checkpoints.tensor_refs import (
    TENSOR_CONSTRUCTORS,
    Extent,
    Opened,
    StorageRef,
    incomplete,
    storage_ref,
)
from ecgnb.core.errors import CheckpointError

SIGNATURE = b"PK\x03\x04"
#: Of the header before each entry: its size, and where it tells the lengths of name and
#: extra field (APPNOTE 4.3.7).
_HEADER, _LENGTHS = 30, 26

_DAMAGE = (
    zipfile.BadZipFile,
    ValueError,
    NotImplementedError,
    EOFError,
    struct.error,
    LookupError,
    ArithmeticError,
)


def read_zip(path: Path) -> Opened:
    """Read the values of a zip container, and where its storages lie.

    Raises:
        CheckpointError: it is damaged, compressed, or a zip file of something else.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            entries = zipfile.ZipFile(file).infolist()
        except _DAMAGE as error:
            raise CheckpointError(
                f"{path} begins as a PyTorch checkpoint (a zip file) and its table of contents, which stands at the "
                f"end, is missing or damaged: the file has {size:,} bytes ({error}). The download or copy was cut "
                "short or damaged: fetch it again."
            ) from error
        return _Archive(path, file, size, entries).opened()


class _Archive:
    """A zip file whose central directory was read."""

    def __init__(
        self, path: Path, file: BinaryIO, size: int, entries: list[zipfile.ZipInfo]
    ) -> None:
        self.path, self.file, self.size = path, file, size
        self.entries = {entry.filename: entry for entry in entries}
        self.extents: dict[str, Extent] = {}
        if len(self.entries) < len(entries):
            raise CheckpointError(
                f"{path} holds two entries of one name: it was damaged or tampered with."
            )
        self.folder = self._folder()

    def opened(self) -> Opened:
        """Return its values, interpreted, and where its storages lie."""
        order = (
            self._content("byteorder")
            if f"{self.folder}/byteorder" in self.entries
            else b"little"
        )
        if order != b"little":
            told = (
                "big-endian" if order == b"big" else brief(order[:20].decode("latin-1"))
            )
            raise CheckpointError(
                f"The numbers in {self.path} have the byte order {told}; only little-endian files can be read. Load it "
                "with PyTorch on the machine that wrote it, and save it on one with an x86 or ARM processor."
            )
        source = f"data.pkl in {self.path}"
        stream = io.BytesIO(self._content("data.pkl"))
        unpickled = interpret(
            stream, source, constructors=TENSOR_CONSTRUCTORS, persistent=self._storage
        )
        return Opened("zip", unpickled, self.extents)

    def _folder(self) -> str:
        """Return the folder that holds everything; refuse a zip file that `torch.save`
        did not write.
        """
        folders = [
            name.partition("/")[0]
            for name in self.entries
            if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(folders) != 1:
            raise CheckpointError(f"{self.path} is {_kind(list(self.entries))}.")
        if any(
            name.startswith((f"{folders[0]}/code/", f"{folders[0]}/constants.pkl"))
            for name in self.entries
        ):
            raise CheckpointError(
                f"{self.path} is a TorchScript archive: a program with weights, which only torch.jit.load can use, by "
                "running it. If you trust it, load it there and torch.save its state_dict(); else ask for the "
                "state_dict."
            )
        return folders[0]

    def _content(self, name: str) -> bytes:
        """Return the bytes of a small entry, checked."""
        extent = self._extent(f"{self.folder}/{name}")
        self.file.seek(extent.start)
        content = self.file.read(extent.n_bytes)
        if extent.crc and zlib.crc32(content) != extent.crc:
            raise CheckpointError(
                f"{name} in {self.path} is damaged: its checksum is not the one that was written with it. Copy or "
                "download the file again."
            )
        return content

    def _extent(self, name: str) -> Extent:
        """Return where an entry's bytes lie, from the header before it."""
        entry = self.entries[name]
        if (
            entry.compress_type != zipfile.ZIP_STORED
            or entry.flag_bits & 1
            or entry.compress_size != entry.file_size
        ):
            raise CheckpointError(
                f"{brief(name)} in {self.path} is compressed or encrypted, which torch.save never does: somebody "
                "packed the checkpoint anew. Unpack it and pack it without compression (zip -0 -r), or take the "
                "original."
            )
        self.file.seek(max(entry.header_offset, 0))
        header = self.file.read(_HEADER)
        if (
            entry.header_offset < 0
            or len(header) < _HEADER
            or not header.startswith(SIGNATURE)
        ):
            raise CheckpointError(
                f"{brief(name)} in {self.path} is damaged: its header is not where it should be."
            )
        start = (
            entry.header_offset
            + _HEADER
            + sum(struct.unpack_from("<HH", header, _LENGTHS))
        )
        if start + entry.file_size > self.size:
            raise CheckpointError(
                incomplete(self.path, self.size, start + entry.file_size)
            )
        return Extent(start, entry.file_size, entry.CRC)

    def _storage(self, key: Any) -> StorageRef | None:
        """Return the storage of a persistent id, after its entry was looked at."""
        found = storage_ref(key)
        if found is None:
            return None
        name = f"{self.folder}/data/{found.key}"
        if name not in self.entries:
            raise ValueError(
                f"it names the storage {brief(found.key)}, which the file does not hold"
            )
        if found.key not in self.extents:
            self.extents[found.key] = self._extent(name)
        held = self.extents[found.key].n_bytes
        if found.start + found.n_bytes > held:
            raise ValueError(
                f"the storage {brief(found.key)} should have {found.n_bytes:,} bytes and has {held:,}"
            )
        return found


def _kind(names: list[str]) -> str:
    """Say what a zip file is that holds no ``data.pkl``, or more than one."""
    if sum(name.endswith("/data.pkl") for name in names) > 1:
        return "a zip file with data.pkl in two folders: several checkpoints in one; unpack them"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz), no PyTorch checkpoint; read it with numpy.load"
    if "config.json" in names and any(name.endswith(".h5") for name in names):
        return "a Keras model (.keras), no PyTorch checkpoint; `ecgnb port` reads it"
    inner = [
        name
        for name in names
        if name.endswith((".pt", ".pth", ".ckpt", ".bin", ".safetensors"))
    ]
    if inner:
        return f"a zip file with {brief(inner[0])} in it; unpack it and open that file"
    first = ", ".join(map(brief, names[:3])) or "nothing"
    return f"a zip file, but no checkpoint of torch.save: data.pkl is missing; it holds {first}"
