"""Tensors of a checkpoint before they are read: dtype, shape, position in the file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ecgnb.checkpoints.constructors import CONSTRUCTORS, Constructor
from ecgnb.checkpoints.inert import Inert, brief
from ecgnb.checkpoints.opcodes import Unpickled
from ecgnb.core.errors import CheckpointError

_STORAGE_DTYPES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16,
    "BFloat16": torch.bfloat16, "Long": torch.int64, "Int": torch.int32,
    "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool,
    "ComplexDouble": torch.complex128, "ComplexFloat": torch.complex64,
}  # fmt: skip
#: Dtype by a storage's class in a pickle; those of a GPU have the same bytes, and an
#: untyped one has bytes alone.
STORAGES = {"torch.storage.UntypedStorage": torch.uint8}
for _name, _dtype in _STORAGE_DTYPES.items():
    STORAGES[f"torch.{_name}Storage"] = _dtype
    STORAGES[f"torch.cuda.{_name}Storage"] = _dtype

#: Dtypes by the name that a pickle has beside an untyped storage.
DTYPES: Mapping[str, torch.dtype] = {
    str(dtype): dtype
    for dtype in (
        *_STORAGE_DTYPES.values(), torch.complex32, torch.uint16, torch.uint32,
        torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz,
        torch.float8_e5m2fnuz,
    )
}  # fmt: skip

MAX_AXES = 64  # the limit of PyTorch
#: A view may repeat its storage (`expand`): up to so many elements it is read although
#: the file has fewer.
_MAX_REPEATED = 2**24
_MAX_SIZE = 2**62  # sums of two stay within int64


@dataclass(frozen=True)
class StorageRef:
    """A range of bytes that tensors are in.

    Attributes:
        key: its name in the file.
        dtype: of its elements; uint8 where the pickle has none.
        n_bytes: its size by the pickle.
        start: first byte in the storage called ``key``; files of old PyTorch have views
            of storages.
    """

    key: str
    dtype: torch.dtype
    n_bytes: int
    start: int = 0


@dataclass(frozen=True)
class TensorRef:
    """A tensor that was not read yet; `Checkpoint.tensor` reads it.

    Attributes:
        dtype: its type.
        shape: its sizes.
        stride: elements from one to the next along each axis.
        offset: of its first element in the storage (elements).
        storage: name of the storage; tensors of one storage share memory.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    storage: str

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Size of a contiguous copy (bytes)."""
        return self.numel * self.dtype.itemsize

    @property
    def end(self) -> int:
        """First byte of the storage behind the last element."""
        if not self.numel:  # no last element
            return self.offset * self.dtype.itemsize
        last = self.offset
        for size, stride in zip(self.shape, self.stride, strict=True):
            last += (size - 1) * stride  # elements
        return (last + 1) * self.dtype.itemsize


@dataclass(frozen=True)
class Extent:
    """The bytes of a storage in a file; checked to be within it.

    Attributes:
        start: first byte.
        n_bytes: size.
        crc: checksum of the bytes (CRC-32); 0 where the file has none.
        alignment: ``start`` must be a multiple of it to be mapped (bytes).
    """

    start: int
    n_bytes: int
    crc: int = 0
    alignment: int = 8


@dataclass(frozen=True, eq=False)
class Container:
    """A file whose tensors were not read yet.

    Attributes:
        kind: "zip", "legacy" or "safetensors".
        unpickled: its values.
        extents: of each storage, by name.
    """

    kind: str
    unpickled: Unpickled
    extents: Mapping[str, Extent]


def require_complete(path: object, size: int, end: int) -> None:
    """Raise a `CheckpointError` for a file of ``size`` bytes that must have ``end``."""
    if end > size:
        raise CheckpointError(
            f"{path} is incomplete: its tensors end at byte {end:,}, the file at "
            f"{size:,}. The download or copy was cut short: fetch it again."
        )


def storage_ref(key: Any) -> StorageRef | None:
    """Return the storage that a persistent id names; ``None`` for any other id.

    Args:
        key: ``("storage", class, name, device, elements)``, and a view ``(name, first
            element, elements)`` or ``None`` in files of PyTorch before 1.6.

    Raises:
        ValueError: it is contradictory.
    """
    if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage":
        return None
    _, kind, name, _, numel, *views = key
    if not isinstance(kind, Inert) or kind.name not in STORAGES:
        return None
    dtype = STORAGES[kind.name]
    if not isinstance(name, str) or not _is_size(numel):
        raise ValueError(f"the storage {brief(name)} has {brief(numel)} elements")
    if not views or views[0] is None:
        return StorageRef(name, dtype, numel * dtype.itemsize)
    view = views[0]
    if not isinstance(view, tuple) or len(view) != 3 or not _are_sizes(view[1:]):
        raise ValueError(f"a view of the storage {brief(name)} is no view")
    _, start, length = view  # elements
    if start + length > numel:
        raise ValueError(f"a view of the storage {brief(name)} is not within it")
    return StorageRef(name, dtype, length * dtype.itemsize, start * dtype.itemsize)


def tensor_ref(
    storage: StorageRef, dtype: torch.dtype, offset: Any, shape: Any, stride: Any
) -> TensorRef:
    """Return a tensor within a storage.

    Raises:
        ValueError: it is not within the storage, or its description is contradictory.
    """
    if not _are_sizes(shape) or not _are_sizes(stride):
        raise ValueError(
            f"a tensor has the shape {brief(shape)} and the strides {brief(stride)}"
        )
    same_axes = len(shape) == len(stride)
    if not same_axes or not _is_size(offset) or storage.start % dtype.itemsize:
        raise ValueError(
            f"a tensor's shape {list(shape)}, strides {list(stride)} and offset do not "
            "fit together"
        )
    ref = TensorRef(dtype, tuple(shape), tuple(stride), offset, storage.key)
    if ref.end > storage.n_bytes:
        raise ValueError(
            f"a tensor of shape {list(shape)} ends at byte {ref.end:,} of the storage "
            f"{brief(storage.key)}, which has {storage.n_bytes:,}"
        )
    # empty axes do not hide the others
    n_elements = math.prod(max(size, 1) for size in shape)
    if n_elements > max(storage.n_bytes, _MAX_REPEATED):
        raise ValueError(
            f"a tensor of shape {list(shape)} repeats a storage of "
            f"{storage.n_bytes:,} bytes"
        )
    return replace(ref, offset=offset + storage.start // dtype.itemsize)


def _is_size(value: Any) -> bool:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return is_integer and 0 <= value < _MAX_SIZE


def _are_sizes(values: Any) -> bool:
    if not isinstance(values, tuple | list) or len(values) > MAX_AXES:
        return False
    return all(map(_is_size, values))


def _rebuild_tensor(args: tuple[Any, ...]) -> TensorRef | None:
    """Build from ``(storage, offset, shape, stride, requires_grad, hooks, metadata)``.

    Old files have the first four. Metadata marks a conjugated or negated tensor.
    """
    if len(args) < 4 or not isinstance(args[0], StorageRef) or any(args[6:]):
        return None
    storage, offset, shape, stride = args[:4]
    return tensor_ref(storage, storage.dtype, offset, shape, stride)


def _rebuild_tensor_v3(args: tuple[Any, ...]) -> TensorRef | None:
    """Build from the arguments of `_rebuild_tensor` with a dtype before metadata."""
    if len(args) < 7 or not isinstance(args[0], StorageRef):
        return None
    *others, dtype = args[:7]
    if not isinstance(dtype, Inert) or dtype.name not in DTYPES:
        return None
    others[0] = replace(args[0], dtype=DTYPES[dtype.name])
    return _rebuild_tensor((*others, *args[7:]))


def _rebuild_parameter(args: tuple[Any, ...]) -> TensorRef | None:
    """Return the tensor of a parameter, without ``requires_grad``."""
    return args[0] if args and isinstance(args[0], TensorRef) else None


def _rebuild_from_type(args: tuple[Any, ...]) -> TensorRef | None:
    """Build from ``(function, class, its arguments, attributes)``, no attributes."""
    if len(args) != 4 or not isinstance(args[2], tuple):
        return None
    function, kind, arguments, _ = args
    if not isinstance(function, Inert) or not isinstance(kind, Inert):
        return None
    if function.name not in _REBUILD or kind.name not in _CLASSES:
        return None
    return _REBUILD[function.name](arguments)


_CLASSES = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
_REBUILD: Mapping[str, Constructor] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
}
#: Calls in a checkpoint that are built: plain values and tensors.
TENSOR_CONSTRUCTORS: Mapping[str, Constructor] = {
    **CONSTRUCTORS,
    **_REBUILD,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.Size": CONSTRUCTORS["builtins.tuple"],
}
