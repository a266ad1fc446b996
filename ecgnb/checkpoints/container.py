"""Open a PyTorch checkpoint as plain values and tensors; nothing in it is executed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ecgnb.checkpoints.inert import brief
from ecgnb.checkpoints.legacy_file import read_legacy
from ecgnb.checkpoints.opcodes import Use
from ecgnb.checkpoints.other_files import HEAD, readable_file, unknown_file_error
from ecgnb.checkpoints.plain import join_path, walk
from ecgnb.checkpoints.safetensors_file import looks_like_safetensors, read_safetensors
from ecgnb.checkpoints.tensor_refs import Container, Extent, TensorRef
from ecgnb.checkpoints.zip_file import SIGNATURE, read_zip
from ecgnb.core.errors import CheckpointError
from ecgnb.core.transient import refuse_transient


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint that `torch.save` or safetensors wrote.

    Values are read at once, tensors when `Checkpoint.tensor` is called.

    Args:
        path: ``.pt``, ``.pth``, ``.ckpt``, ``.bin`` or ``.safetensors``; recognised by
            its contents, not by its name.

    Raises:
        CheckpointError: the file is missing, damaged, cut, or of another kind, which is
            named.

    >>> checkpoint = open_checkpoint("model.pt")                      # doctest: +SKIP
    >>> checkpoint.tensor(checkpoint.contents["model"]["mask_emb"])   # doctest: +SKIP
    """
    path = readable_file(path)
    try:
        return Checkpoint(path, _read_container(path))
    except OSError as error:
        raise _unreadable(path, error) from error  # a vanished drive, no permission


def _read_container(path: Path) -> Container:
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(SIGNATURE):
        return read_zip(path)
    if looks_like_safetensors(head, path.stat().st_size):
        return read_safetensors(path)
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":  # PROTO of pickle protocols 2 to 5
        return read_legacy(path)
    raise unknown_file_error(path, head)


class Checkpoint:
    """An open checkpoint.

    Attributes:
        path: the file. It must not change while tensors of it are in use.
        kind: ``"zip"`` (PyTorch 1.6 or newer), ``"legacy"`` (older) or
            ``"safetensors"``.
        size: of the file (bytes).
        contents: the saved object: plain values, a `TensorRef` for each tensor, and an
            `Inert` note for each object that would have to be imported.
        globals: what the file would have imported, by module and name.
        opcodes: the instructions in its pickle.
    """

    def __init__(self, path: Path, container: Container) -> None:
        self.path = path
        self.kind = container.kind
        self.size = path.stat().st_size
        self.contents: Any = container.unpickled.value
        self.globals: Mapping[str, Use] = container.unpickled.globals
        self.opcodes = container.unpickled.opcodes
        self._extents = container.extents
        self._file: Any = None  # the whole file, mapped when it is first needed
        self._storages: dict[str, torch.UntypedStorage] = {}

    def __repr__(self) -> str:
        return f"<{self.kind} checkpoint {self.path}: {self.size / 1e6:.1f} MB>"

    def state_dicts(self) -> dict[str, dict[str, TensorRef]]:
        """Return each dict that has only named tensors, by its path, such as "model".

        In a file that is nothing but a state dict the path is ``""``.
        """
        state_dicts = {}
        for path, name, item in walk(self.contents):
            if isinstance(item, dict) and item and all(map(_is_named, item.items())):
                state_dicts[join_path(path, name)] = item
        return state_dicts

    def tensor(self, ref: TensorRef) -> torch.Tensor:
        """Read a tensor.

        Files of PyTorch 1.6 or newer and of safetensors are mapped, not copied: the
        tensor takes memory when it is used, and changes of it stay in memory. Tensors
        that shared memory share it again.

        Args:
            ref: of this checkpoint's ``contents``.

        Raises:
            CheckpointError: its bytes are damaged, the file has changed, or ``ref`` is
                of another checkpoint.
        """
        extent = self._extents.get(ref.storage)
        if extent is None or ref.end > extent.n_bytes:
            raise CheckpointError(
                f"{self.path} has no tensor {brief(ref.storage)} of shape "
                f"{list(ref.shape)}."
            )
        if ref.storage not in self._storages:
            try:
                self._storages[ref.storage] = self._read(ref.storage, extent)
            except OSError as error:
                raise _unreadable(self.path, error) from error
        storage = self._storages[ref.storage]
        # whatever the default device is
        tensor = torch.empty(0, dtype=ref.dtype, device="cpu")
        return tensor.set_(storage, ref.offset, ref.shape, ref.stride)

    def _read(self, key: str, extent: Extent) -> torch.UntypedStorage:
        if not extent.n_bytes:  # nothing to map
            return torch.UntypedStorage(0, device="cpu")
        if self.path.stat().st_size != self.size:
            raise self._changed()
        if self.kind != "legacy" and extent.start % extent.alignment == 0:
            storage = self._map(extent)
        else:
            storage = self._copy(extent)
        if extent.crc and zlib.crc32(_buffer(storage)) != extent.crc:
            raise CheckpointError(
                f"The tensor data {brief(key)} in {self.path} is damaged: its checksum "
                "is not the one written with it. Copy or download the file again."
            )
        return storage

    def _map(self, extent: Extent) -> torch.UntypedStorage:
        """Map a part of the file: pages are read on use, changes are private."""
        try:
            if self._file is None:
                self._file = torch.UntypedStorage.from_file(
                    # private: writes stay in memory
                    str(self.path),
                    shared=False,
                    nbytes=self.size,
                )
            return self._file[extent.start : extent.start + extent.n_bytes]
        except RuntimeError as error:
            raise CheckpointError(
                f"{self.path} cannot be mapped into memory ({str(error)[:200]}). Copy "
                "it to a local disk."
            ) from error

    def _copy(self, extent: Extent) -> torch.UntypedStorage:
        storage = torch.UntypedStorage(extent.n_bytes, device="cpu")
        with self.path.open("rb") as file:
            file.seek(extent.start)
            if file.readinto(_buffer(storage)) != extent.n_bytes:
                raise self._changed()
        return storage

    def _changed(self) -> CheckpointError:
        return CheckpointError(
            f"{self.path} has changed since it was opened. Open it again."
        )


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    refuse_transient(error, path)
    return CheckpointError(f"{path} cannot be read: {error.strerror or error}.")


def _is_named(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], TensorRef)


def _buffer(storage: torch.UntypedStorage) -> memoryview:
    """Return the memory of a storage."""
    tensor = torch.empty(0, dtype=torch.uint8, device="cpu").set_(storage)
    return tensor.numpy().data
