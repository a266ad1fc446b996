"""The container that `torch.save` wrote before PyTorch 1.6, and writes without
``_use_new_zipfile_serialization``.

Five pickles follow each other: a magic number, the version of the format, facts about
the machine, the values, and the names of the storages; then for each storage its number
of elements (8 bytes) and its bytes. Source: ``_legacy_save`` in
``torch/serialization.py``.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from ecgnb.checkpoints.constructors import brief
from ecgnb.checkpoints.opcodes import Unpickled, brief_globals, interpret
from ecgnb.checkpoints.tensor_refs import (
    TENSOR_CONSTRUCTORS,
    Extent,
    Opened,
    incomplete,
    storage_ref,
)
from ecgnb.core.errors import CheckpointError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001


def read_legacy(path: Path) -> Opened:
    """Read the values of a legacy container, and where its storages lie.

    Raises:
        CheckpointError: it is damaged or cut, or a pickle of something else.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream,
    ):
        _check_magic(path, stream)
        version, machine = (interpret(stream, str(path)).value for _ in range(2))
        if version != _VERSION or not isinstance(machine, dict):
            raise CheckpointError(
                f"{path} has version {brief(version)} of PyTorch's old format; {_VERSION} is known."
            )
        if machine.get("little_endian") is not True:
            raise CheckpointError(
                f"{path} was written on a big-endian machine; only little-endian files can be read. Load it with "
                "PyTorch there, and save it on a machine with an x86 or ARM processor."
            )
        storages = _Storages()
        unpickled = interpret(
            stream,
            str(path),
            constructors=TENSOR_CONSTRUCTORS,
            persistent=storages.named,
        )
        keys = interpret(stream, str(path)).value
        return Opened("legacy", unpickled, _extents(path, stream, keys, storages.roots))


def _check_magic(path: Path, stream: mmap.mmap) -> None:
    """Refuse a pickle that `torch.save` did not write, and name what it would
    import.
    """
    found: Unpickled | None
    try:
        found = interpret(stream, str(path))
    except CheckpointError:
        found = None
    if found is None or found.value != _MAGIC:
        names = (
            f", which names {brief_globals(found.globals)}"
            if found and found.globals
            else ""
        )
        raise CheckpointError(
            f"{path} is a plain pickle as pickle.dump, joblib or scikit-learn write it{names}; it is no checkpoint of "
            "torch.save. Load it in the environment that wrote it, if you trust it: loading runs whatever it says. "
            "Save the tensors there with torch.save or safetensors."
        )


class _Storages:
    """The storages that the values name, which must all follow them."""

    def __init__(self) -> None:
        self.roots: dict[str, tuple[int, int]] = {}  # elements, and bytes of an element

    def named(self, key: Any) -> Any:
        """Return the storage of a persistent id, or the class of a module whose source
        the file keeps.
        """
        if isinstance(key, tuple) and len(key) == 4 and key[0] == "module":
            return key[1]
        found = storage_ref(key)
        if found is None:
            return None
        root = (key[4], found.dtype.itemsize if found.dtype else 1)
        if self.roots.setdefault(found.key, root) != root:
            raise ValueError(f"the storage {brief(found.key)} has two sizes")
        return found


def _extents(
    path: Path, stream: mmap.mmap, keys: Any, roots: dict[str, tuple[int, int]]
) -> dict[str, Extent]:
    if (
        not isinstance(keys, list)
        or not all(isinstance(key, str) for key in keys)
        or not set(roots) <= set(keys)
    ):
        raise CheckpointError(
            f"{path} is damaged: the names of its storages are not those that its values use."
        )
    place, size, extents = stream.tell(), len(stream), {}
    for key in keys:
        if key not in roots:
            raise CheckpointError(
                f"{path} is damaged: it holds the storage {brief(key)}, which no value uses."
            )
        numel, itemsize = roots[key]
        start, end = place + 8, place + 8 + numel * itemsize
        if end > size:
            raise CheckpointError(incomplete(path, size, end))
        count = int.from_bytes(stream[place:start], "little")
        if count != numel:
            raise CheckpointError(
                f"{path} is damaged: the storage {brief(key)} has {count:,} elements where {numel:,} are named."
            )
        extents[key] = Extent(start, numel * itemsize)
        place = end
    return extents
