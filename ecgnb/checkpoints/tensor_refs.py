"""Tensors of a checkpoint before they are read: type, shape, and where their numbers
lie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ecgnb.checkpoints.constructors import CONSTRUCTORS, Constructor, Inert, brief
from ecgnb.checkpoints.opcodes import Unpickled

#: Classes of storages by the name a pickle has for them; those of a GPU have the same
#: numbers.
STORAGES: Mapping[str, torch.dtype] = {
    f"torch.{place}{name}Storage": dtype
    for name, dtype in {
        "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
        "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
        "Bool": torch.bool, "ComplexDouble": torch.complex128, "ComplexFloat": torch.complex64,
    }.items()
    for place in ("", "cuda.")
}  # fmt: skip
UNTYPED_STORAGE = "torch.storage.UntypedStorage"

#: Types that a pickle names beside an untyped storage.
DTYPES: Mapping[str, torch.dtype] = {
    str(dtype): dtype
    for dtype in (
        *STORAGES.values(), torch.complex32, torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn,
        torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
    )
}  # fmt: skip

#: PyTorch has as many axes at the most.
_MOST_AXES = 64
#: A view may repeat its storage (`expand`); up to these elements it is read although
#: the file holds fewer.
_MOST_REPEATED = 2**24
_LARGEST = 2**62


@dataclass(frozen=True)
class StorageRef:
    """A run of bytes that tensors lie in.

    Attributes:
        key: its name in the file.
        dtype: of its elements; ``None`` where the pickle does not tell.
        n_bytes: its size as the pickle tells it.
        start: where it begins in the storage called ``key`` (bytes); files of old
            PyTorch have views of storages.
    """

    key: str
    dtype: torch.dtype | None
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
        storage: name of the storage; tensors of one storage share their numbers.
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
        """Size of all elements, were they copied (bytes)."""
        return self.numel * self.dtype.itemsize

    @property
    def end(self) -> int:
        """The first byte of the storage behind the last element."""
        steps = sum(
            (size - 1) * stride
            for size, stride in zip(self.shape, self.stride, strict=True)
        )
        return (self.offset + (steps + 1 if self.numel else 0)) * self.dtype.itemsize


def storage_ref(key: Any) -> StorageRef | None:
    """Return the storage that a persistent id names; ``None`` where it names something
    else.

    Args:
        key: ``("storage", class, name, device, elements)``, and a view ``(name, first
            element, elements)`` or ``None`` in files of PyTorch before 1.6.

    Raises:
        ValueError: it is contradictory.
    """
    if (
        not isinstance(key, tuple)
        or len(key) not in (5, 6)
        or key[0] != "storage"
        or not isinstance(key[1], Inert)
    ):
        return None
    dtype = STORAGES.get(key[1].name)
    if dtype is None and key[1].name != UNTYPED_STORAGE:
        return None
    name, numel, view = key[2], key[4], key[5] if len(key) == 6 else None
    size = dtype.itemsize if dtype else 1
    if not isinstance(name, str) or not _is_size(numel):
        raise ValueError(f"the storage {brief(name)} has {brief(numel)} elements")
    if view is None:
        return StorageRef(name, dtype, numel * size)
    if (
        not isinstance(view, tuple)
        or len(view) != 3
        or not all(map(_is_size, view[1:]))
        or sum(view[1:]) > numel
    ):
        raise ValueError(f"a view of the storage {brief(name)} is not within it")
    return StorageRef(name, dtype, view[2] * size, view[1] * size)


def view(
    storage: StorageRef, dtype: torch.dtype, offset: Any, shape: Any, stride: Any
) -> TensorRef:
    """Return a tensor within a storage.

    Raises:
        ValueError: it does not lie within the storage, or its description is no
            description of a tensor.
    """
    for sizes in (shape, stride):
        if (
            not isinstance(sizes, tuple | list)
            or len(sizes) > _MOST_AXES
            or not all(map(_is_size, sizes))
        ):
            raise ValueError(
                f"a tensor has the shape {brief(shape)} and the strides {brief(stride)}"
            )
    if (
        len(shape) != len(stride)
        or not _is_size(offset)
        or storage.start % dtype.itemsize
    ):
        raise ValueError(
            f"a tensor's shape {list(shape)}, strides {list(stride)} and offset do not fit together"
        )
    found = TensorRef(dtype, tuple(shape), tuple(stride), offset, storage.key)
    if found.end > storage.n_bytes:
        raise ValueError(
            f"a tensor of shape {list(shape)} ends at byte {found.end:,} of the storage {brief(storage.key)}, "
            f"which has {storage.n_bytes:,}"
        )
    if math.prod(max(size, 1) for size in shape) > max(storage.n_bytes, _MOST_REPEATED):
        raise ValueError(
            f"a tensor of shape {list(shape)} repeats a storage of {storage.n_bytes:,} bytes"
        )
    start = offset + storage.start // dtype.itemsize
    return TensorRef(dtype, found.shape, found.stride, start, storage.key)


def _is_size(value: Any) -> bool:
    return (
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST
    )


def _rebuilt_v2(args: tuple[Any, ...]) -> TensorRef | None:
    """Build of ``(storage, offset, shape, stride, requires_grad, hooks[, metadata])``;
    the first four in old files.
    """
    if (
        len(args) < 4 or not isinstance(args[0], StorageRef) or any(args[6:])
    ):  # metadata: conjugated or negated
        return None
    return view(args[0], args[0].dtype or torch.uint8, *args[1:4])


def _rebuilt_v3(args: tuple[Any, ...]) -> TensorRef | None:
    """Build of ``(storage, offset, shape, stride, requires_grad, hooks, dtype[,
    metadata])``.
    """
    if (
        len(args) < 7
        or not isinstance(args[0], StorageRef)
        or not isinstance(args[6], Inert)
        or any(args[7:])
    ):
        return None
    dtype = DTYPES.get(args[6].name)
    return None if dtype is None else view(args[0], dtype, *args[1:4])


def _parameter(args: tuple[Any, ...]) -> TensorRef | None:
    """Return the tensor in a parameter; whether it was trained is for its new owner to
    say.
    """
    return args[0] if args and isinstance(args[0], TensorRef) else None


def _with_attributes(args: tuple[Any, ...]) -> TensorRef | None:
    """Build of ``(function, class, its arguments, attributes)``, the attributes left
    out.
    """
    if (
        len(args) != 4
        or not all(isinstance(each, Inert) for each in args[:2])
        or not isinstance(args[2], tuple)
    ):
        return None
    build = _REBUILD.get(args[0].name)
    return build(args[2]) if build and args[1].name in _CLASSES else None


_CLASSES = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
_REBUILD: Mapping[str, Constructor] = {
    "torch._utils._rebuild_tensor": _rebuilt_v2,
    "torch._utils._rebuild_tensor_v2": _rebuilt_v2,
    "torch._utils._rebuild_tensor_v3": _rebuilt_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
#: What is built of the calls in a checkpoint: plain values and tensors.
TENSOR_CONSTRUCTORS: Mapping[str, Constructor] = {
    **CONSTRUCTORS,
    **_REBUILD,
    "torch._tensor._rebuild_from_type_v2": _with_attributes,
    "torch.Size": lambda args: CONSTRUCTORS["builtins.tuple"](args),
}


@dataclass(frozen=True)
class Extent:
    """Where a storage lies in a file; checked to be within it.

    Attributes:
        start: its first byte.
        n_bytes: its size.
        crc: checksum of its bytes (CRC-32); 0 where the file has none.
        alignment: what ``start`` must be a multiple of for its numbers to be used where
            they lie (bytes).
    """

    start: int
    n_bytes: int
    crc: int = 0
    alignment: int = 8


@dataclass(frozen=True, eq=False)
class Opened:
    """A container whose numbers were not read yet.

    Attributes:
        kind: "zip", "legacy" or "safetensors".
        unpickled: its values.
        extents: a storage each, by name.
    """

    kind: str
    unpickled: Unpickled
    extents: Mapping[str, Extent]


def incomplete(path: object, size: int, needed: int) -> str:
    """Return what to say of a file that ends before its tensors do."""
    return (
        f"{path} is incomplete: its tensors end at byte {needed:,}, the file at {size:,}. The download or copy was cut "
        "short: fetch it again."
    )
