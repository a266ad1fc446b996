"""Read the zip container that `torch.save` writes since PyTorch 1.6.

One folder of any name has ``data.pkl`` (the values), ``data/<key>`` (one storage each,
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

from ecgnb.checkpoints.inert import brief, brief_name
from ecgnb.checkpoints.opcodes import interpret
from ecgnb.checkpoints.other_files import SUFFIXES
from ecgnb.checkpoints.tensor_refs import (
    TENSOR_CONSTRUCTORS,
    Container,
    Extent,
    StorageRef,
    require_complete,
    storage_ref,
)
from ecgnb.core.errors import CheckpointError, first_few

SIGNATURE = b"PK\x03\x04"
#: Size of the header before an entry, and the position in it of two lengths, name and
#: extra field (APPNOTE 4.3.7).
_HEADER, _LENGTHS = 30, 26  # bytes

#: Errors of `zipfile` for a damaged table of contents.
_DAMAGE = (
    zipfile.BadZipFile,
    ValueError,
    NotImplementedError,
    EOFError,
    struct.error,
    LookupError,
    ArithmeticError,
)


def read_zip(path: Path) -> Container:
    """Read the values of a zip container, and the positions of its storages.

    Raises:
        CheckpointError: it is damaged, compressed, or another program's zip file.
    """
    with path.open("rb") as file:
        try:
            entries = zipfile.ZipFile(file).infolist()
        except _DAMAGE as error:
            raise CheckpointError(
                f"{path} begins as a PyTorch checkpoint (a zip file) and its table of "
                "contents, which is at the end, is missing or damaged: the file has "
                f"{path.stat().st_size:,} bytes ({error}). The download or copy was "
                "cut short or damaged: fetch it again."
            ) from error
        return _Archive(path, file, entries).read()


class _Archive:
    """A zip file whose central directory was read."""

    def __init__(
        self, path: Path, file: BinaryIO, entries: list[zipfile.ZipInfo]
    ) -> None:
        self.path = path
        self.file = file
        self.entries = {entry.filename: entry for entry in entries}
        self.extents: dict[str, Extent] = {}
        if len(self.entries) < len(entries):
            raise CheckpointError(
                f"{path} has two entries of one name: it was damaged or tampered with."
            )
        self.folder = self._find_folder()

    def read(self) -> Container:
        """Interpret the values; return them with the positions of the storages."""
        order = b"little"  # of PyTorch before 2.1, which does not note it
        if f"{self.folder}/byteorder" in self.entries:
            order = self._content("byteorder")
        if order != b"little":
            name = brief_name(order[:20].decode("latin-1"))
            raise CheckpointError(
                f"The numbers in {self.path} have the byte order {name}-endian; only "
                "little-endian files can be read. Load it with PyTorch on the machine "
                "that wrote it, and save it on one with an x86 or ARM processor."
            )
        unpickled = interpret(
            io.BytesIO(self._content("data.pkl")),
            f"data.pkl in {self.path}",
            constructors=TENSOR_CONSTRUCTORS,
            persistent=self._resolve,
        )
        return Container("zip", unpickled, self.extents)

    def _find_folder(self) -> str:
        """Return the folder of everything; refuse zip files of other programs."""
        names = list(self.entries)
        folders = []
        for name in names:
            folder, _, file = name.partition("/")
            if file == "data.pkl":
                folders.append(folder)
        if len(folders) != 1:
            raise CheckpointError(f"{self.path} is {_describe(names)}.")
        folder = folders[0]
        program = (f"{folder}/code/", f"{folder}/constants.pkl")
        if any(name.startswith(program) for name in names):
            raise CheckpointError(
                f"{self.path} is a TorchScript archive: a program with weights, which "
                "only torch.jit.load can use, by running it. If you trust it, load it "
                "there and torch.save its state_dict(); else request the state_dict."
            )
        return folder

    def _content(self, name: str) -> bytes:
        """Return the bytes of a small entry, checked."""
        extent = self._extent(f"{self.folder}/{name}")
        self.file.seek(extent.start)
        content = self.file.read(extent.n_bytes)
        if extent.crc and zlib.crc32(content) != extent.crc:
            raise CheckpointError(
                f"{name} in {self.path} is damaged: its checksum is not the one "
                "written with it. Copy or download the file again."
            )
        return content

    def _extent(self, name: str) -> Extent:
        """Return the position of an entry's bytes, from the header before it."""
        entry = self.entries[name]
        is_stored = entry.compress_type == zipfile.ZIP_STORED
        is_encrypted = entry.flag_bits & 1  # APPNOTE 4.4.4
        if not is_stored or is_encrypted or entry.compress_size != entry.file_size:
            raise CheckpointError(
                f"{brief(name)} in {self.path} is compressed or encrypted, which "
                "torch.save never does: somebody packed the checkpoint anew. Unpack it "
                "and pack it without compression (zip -0 -r), or take the original."
            )
        offset = entry.header_offset
        self.file.seek(max(offset, 0))
        header = self.file.read(_HEADER)
        if offset < 0 or len(header) < _HEADER or not header.startswith(SIGNATURE):
            raise CheckpointError(
                f"{brief(name)} in {self.path} is damaged: its header is not where it "
                "should be."
            )
        name_length, extra_length = struct.unpack_from("<HH", header, _LENGTHS)
        # the extra field aligns the data
        start = offset + _HEADER + name_length + extra_length
        require_complete(self.path, self.path.stat().st_size, start + entry.file_size)
        # CRC-32 of the central directory
        return Extent(start, entry.file_size, entry.CRC)

    def _resolve(self, key: Any) -> StorageRef | None:
        """Return the storage of a persistent id, and note its position."""
        ref = storage_ref(key)
        if ref is None:
            return None
        name = f"{self.folder}/data/{ref.key}"
        if name not in self.entries:
            raise ValueError(
                f"it names the storage {brief(ref.key)}, which the file does not have"
            )
        if ref.key not in self.extents:
            self.extents[ref.key] = self._extent(name)
        n_bytes = self.extents[ref.key].n_bytes
        if ref.start + ref.n_bytes > n_bytes:
            raise ValueError(
                f"the storage {brief(ref.key)} should have {ref.n_bytes:,} bytes and "
                f"has {n_bytes:,}"
            )
        return ref


def _describe(names: list[str]) -> str:
    """Describe a zip file without ``data.pkl``, or with more than one, by its names."""
    if sum(name.endswith("/data.pkl") for name in names) > 1:
        return (
            "a zip file with data.pkl in two folders: several checkpoints in one; "
            "unpack them"
        )
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz), no PyTorch checkpoint; read it with numpy.load"
    if "config.json" in names and any(name.endswith(".h5") for name in names):
        return "a Keras model (.keras), no PyTorch checkpoint; `ecgnb port` reads it"
    for name in names:
        if name.endswith(SUFFIXES):
            return f"a zip file with {brief(name)} in it; unpack it and open that file"
    contents = first_few(list(map(brief, names)), 3) or "nothing"
    return (
        "a zip file, but no checkpoint of torch.save: data.pkl is missing; it has "
        f"{contents}"
    )
