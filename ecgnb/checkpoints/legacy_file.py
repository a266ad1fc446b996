"""Read the container that `torch.save` wrote before PyTorch 1.6.

It still writes it without ``_use_new_zipfile_serialization``. Five pickles follow each
other: a magic number, the version of the format, facts about the machine, the values,
and the names of the storages; then for each storage its number of elements (8 bytes)
and its bytes. Source: ``_legacy_save`` in ``torch/serialization.py``.
"""

from __future__ import annotations

import contextlib
import mmap
from pathlib import Path
from typing import Any

from ecgnb.checkpoints.inert import brief, brief_name
from ecgnb.checkpoints.opcodes import interpret
from ecgnb.checkpoints.tensor_refs import (
    TENSOR_CONSTRUCTORS,
    Container,
    Extent,
    require_complete,
    storage_ref,
)
from ecgnb.core.errors import CheckpointError, first_few

_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py
_VERSION = 1001
_COUNT_BYTES = 8  # number of elements before each storage


def read_legacy(path: Path) -> Container:
    """Read the values of a legacy container, and the positions of its storages.

    Raises:
        CheckpointError: it is damaged or cut, or another program's pickle.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream,
    ):
        _require_magic(path, stream)
        version = interpret(stream, str(path)).value
        machine = interpret(stream, str(path)).value  # byte order and type sizes
        if version != _VERSION or not isinstance(machine, dict):
            raise CheckpointError(
                f"{path} has version {brief(version)} of PyTorch's old format; "
                f"{_VERSION} is known."
            )
        if machine.get("little_endian") is not True:
            raise CheckpointError(
                f"{path} was written on a big-endian machine; only little-endian files "
                "can be read. Load it with PyTorch there, and save it on a machine "
                "with an x86 or ARM processor."
            )
        storages = _Storages()
        unpickled = interpret(
            stream,
            str(path),
            constructors=TENSOR_CONSTRUCTORS,
            persistent=storages.resolve,
        )
        keys = interpret(stream, str(path)).value
        return Container("legacy", unpickled, _extents(path, stream, keys, storages))


def _require_magic(path: Path, stream: mmap.mmap) -> None:
    """Refuse a pickle that `torch.save` did not write, and name its globals."""
    names: list[str] = []
    with contextlib.suppress(CheckpointError):  # damaged, and no checkpoint either
        unpickled = interpret(stream, str(path))
        if unpickled.value == _MAGIC:
            return
        names = [brief_name(name) for name in unpickled.globals]
    naming = f", which names {first_few(names)}" if names else ""
    raise CheckpointError(
        f"{path} is a plain pickle as pickle.dump, joblib or scikit-learn write it"
        f"{naming}; it is no checkpoint of torch.save. Load it in the environment that "
        "wrote it, if you trust it: loading runs all calls in it. Save the tensors "
        "there with torch.save or safetensors."
    )


class _Storages:
    """Storages that the values refer to; all of them must follow the values."""

    def __init__(self) -> None:
        self.sizes: dict[str, tuple[int, int]] = {}  # elements, bytes of an element

    def resolve(self, key: Any) -> Any:
        """Return the storage of a persistent id.

        For a module whose source the file keeps, return its class.
        """
        if isinstance(key, tuple) and len(key) == 4 and key[0] == "module":
            return key[1]  # its source is not run
        ref = storage_ref(key)
        if ref is None:
            return None
        size = (key[4], ref.dtype.itemsize)
        if self.sizes.setdefault(ref.key, size) != size:
            raise ValueError(f"the storage {brief(ref.key)} has two sizes")
        return ref


def _extents(
    path: Path, stream: mmap.mmap, keys: Any, storages: _Storages
) -> dict[str, Extent]:
    is_list = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not is_list or not set(storages.sizes) <= set(keys):
        raise CheckpointError(
            f"{path} is damaged: the names of its storages are not those that its "
            "values use."
        )
    position = stream.tell()  # behind the last pickle
    extents = {}
    for key in keys:
        if key not in storages.sizes:
            raise CheckpointError(
                f"{path} is damaged: it has the storage {brief(key)}, which no value "
                "uses."
            )
        numel, itemsize = storages.sizes[key]
        start = position + _COUNT_BYTES
        extents[key] = Extent(start, numel * itemsize)
        end = start + extents[key].n_bytes
        require_complete(path, len(stream), end)
        count = int.from_bytes(stream[position:start], "little")
        if count != numel:
            raise CheckpointError(
                f"{path} is damaged: the storage {brief(key)} has {count:,} elements "
                f"where {numel:,} are named."
            )
        position = end
    return extents
