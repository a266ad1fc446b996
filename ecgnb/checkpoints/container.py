"""`open_checkpoint`: a PyTorch checkpoint of others as plain values and tensors, with
nothing in it executed.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ecgnb.checkpoints.constructors import brief
from ecgnb.checkpoints.legacy_file import read_legacy
from ecgnb.checkpoints.opcodes import Use
from ecgnb.checkpoints.other_files import HEAD, foreign, readable_file
from ecgnb.checkpoints.plain import place, plain, walk
from ecgnb.checkpoints.safetensors_file import looks_like_safetensors, read_safetensors
from ecgnb.checkpoints.tensor_refs import Extent, Opened, TensorRef
from ecgnb.checkpoints.zip_file import SIGNATURE, read_zip
from ecgnb.core.errors import CheckpointError

__all__ = ["Checkpoint", "TensorRef", "open_checkpoint", "plain"]


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint that `torch.save` or safetensors wrote. Only its values are
    read; tensors are when asked for.

    Args:
        path: ``.pt``, ``.pth``, ``.ckpt``, ``.bin`` or ``.safetensors``; the contents
            count, not the name.

    Raises:
        CheckpointError: the file is missing, damaged, cut, or something else, which is
            told.

    >>> checkpoint = open_checkpoint("model.pt")                      # doctest: +SKIP
    >>> checkpoint.tensor(checkpoint.contents["model"]["mask_emb"])   # doctest: +SKIP
    """
    path = readable_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        return Checkpoint(path, _opened(path, head))
    except OSError as error:
        raise _unreadable(path, error) from error


def _opened(path: Path, head: bytes) -> Opened:
    if head.startswith(SIGNATURE):
        return read_zip(path)
    if looks_like_safetensors(head, path.stat().st_size):
        return read_safetensors(path)
    if (
        head[:1] == b"\x80" and head[1:2] <= b"\x05"
    ):  # how a pickle of protocol 2 or newer begins
        return read_legacy(path)
    raise foreign(path, head)


class Checkpoint:
    """An open checkpoint.

    Attributes:
        path: the file. It must stay as it is while tensors of it are in use.
        kind: ``"zip"`` (PyTorch 1.6 or newer), ``"legacy"`` (older) or
            ``"safetensors"``.
        size: of the file (bytes).
        contents: what was saved: plain values, a `TensorRef` for each tensor, and an
            `Inert` note for each object that would have to be imported.
        globals: what the file would have imported, by module and name.
        opcodes: the instructions its pickle is made of.
    """

    def __init__(self, path: Path, opened: Opened) -> None:
        self.path, self.kind, self.size = path, opened.kind, path.stat().st_size
        self.contents: Any = opened.unpickled.value
        self.globals: Mapping[str, Use] = opened.unpickled.globals
        self.opcodes = opened.unpickled.opcodes
        self._extents = opened.extents
        self._file: Any = None
        self._storages: dict[str, torch.UntypedStorage] = {}

    def __repr__(self) -> str:
        return f"<{self.kind} checkpoint {self.path}: {self.size / 1e6:.1f} MB>"

    def state_dicts(self) -> dict[str, dict[str, TensorRef]]:
        """Return each dict that holds nothing but named tensors, by its place, such as
        ``"model"``.

        A file that is nothing but a state dict has the place ``""``.
        """
        return {
            place(where, name): item
            for where, name, item in walk(self.contents)
            if isinstance(item, dict)
            and item
            and all(map(_is_named_tensor, item.items()))
        }

    def tensor(self, ref: TensorRef) -> torch.Tensor:
        """Read a tensor.

        In files of PyTorch 1.6 or newer and of safetensors its numbers are mapped, not
        copied: they take memory once they are used, and a change of the tensor stays in
        memory. Tensors that shared their numbers share them again.

        Args:
            ref: of this checkpoint's ``contents``.

        Raises:
            CheckpointError: its bytes are damaged, the file has changed, or ``ref`` is
                of another checkpoint.
        """
        if (
            ref.storage not in self._extents
            or ref.end > self._extents[ref.storage].n_bytes
        ):
            raise CheckpointError(
                f"{self.path} has no tensor {brief(ref.storage)} of shape {list(ref.shape)}."
            )
        if ref.storage not in self._storages:
            try:
                self._storages[ref.storage] = self._read(
                    ref.storage, self._extents[ref.storage]
                )
            except OSError as error:
                raise _unreadable(self.path, error) from error
        empty = torch.empty(0, dtype=ref.dtype, device="cpu")
        return empty.set_(
            self._storages[ref.storage], ref.offset, ref.shape, ref.stride
        )

    def _read(self, key: str, extent: Extent) -> torch.UntypedStorage:
        if not extent.n_bytes:
            return torch.UntypedStorage(0, device="cpu")
        if self.path.stat().st_size != self.size:
            raise CheckpointError(
                f"{self.path} has changed since it was opened. Open it again."
            )
        mapped = self.kind != "legacy" and extent.start % extent.alignment == 0
        storage = self._mapped(extent) if mapped else self._copied(extent)
        if extent.crc and zlib.crc32(_bytes(storage).numpy().data) != extent.crc:
            raise CheckpointError(
                f"The tensor data {brief(key)} in {self.path} is damaged: its checksum is not the one that was written "
                "with it. Copy or download the file again."
            )
        return storage

    def _mapped(self, extent: Extent) -> torch.UntypedStorage:
        """Return a part of the file, mapped once: pages come when they are used, and
        changes are private.
        """
        try:
            if self._file is None:
                self._file = torch.UntypedStorage.from_file(
                    str(self.path), shared=False, nbytes=self.size
                )
            return self._file[extent.start : extent.start + extent.n_bytes]
        except RuntimeError as error:
            raise CheckpointError(
                f"{self.path} cannot be mapped into memory ({str(error)[:200]}). Copy it to a local disk."
            ) from error

    def _copied(self, extent: Extent) -> torch.UntypedStorage:
        storage = torch.UntypedStorage(extent.n_bytes, device="cpu")
        with self.path.open("rb") as file:
            file.seek(extent.start)
            if file.readinto(_bytes(storage).numpy().data) != extent.n_bytes:
                raise CheckpointError(
                    f"{self.path} has changed since it was opened. Open it again."
                )
        return storage


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"{path} cannot be read: {error.strerror or error}.")


def _is_named_tensor(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], TensorRef)


def _bytes(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8, device="cpu").set_(storage)
