"""Read the header of a safetensors file: dtype, shape and position of each tensor.

Source: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ecgnb.checkpoints.inert import brief
from ecgnb.checkpoints.opcodes import Unpickled
from ecgnb.checkpoints.tensor_refs import (
    MAX_AXES,
    Container,
    Extent,
    StorageRef,
    TensorRef,
    require_complete,
    tensor_ref,
)
from ecgnb.core.errors import CheckpointError

MAX_HEADER = 100_000_000  # bytes, by the format

_DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16,
    "BF16": torch.bfloat16, "I64": torch.int64, "I32": torch.int32, "I16": torch.int16,
    "I8": torch.int8, "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16,
    "U8": torch.uint8, "BOOL": torch.bool, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Return whether a file of ``size`` bytes beginning with ``head`` is safetensors.

    A file that was cut within its header counts.
    """
    length = int.from_bytes(head[:8], "little")
    if head[8:9] != b"{" or not 2 <= length <= MAX_HEADER:
        return False
    return length + 8 <= size or head[9:10] in b'"}'  # cut: begins as JSON


def read_safetensors(path: Path) -> Container:
    """Read the header of a safetensors file.

    Raises:
        CheckpointError: the file is damaged or cut.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")  # of the header
        require_complete(path, size, length + 8)
        header = _parse_header(path, file.read(length))
    header.pop("__metadata__", None)  # text for people, no tensor
    extents = {}
    tensors = {}
    for name, entry in header.items():
        try:
            extent, ref = _read_entry(name, entry, length + 8)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise CheckpointError(
                f"The tensor {brief(name)} in {path} is damaged: {str(error)[:200]}."
            ) from error
        require_complete(path, size, extent.start + extent.n_bytes)
        extents[name], tensors[name] = extent, ref
    return Container("safetensors", Unpickled(tensors, {}, set()), extents)


def _parse_header(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"The header of {path} is damaged: it is no JSON ({str(error)[:200]}). "
            "Copy or download the file again."
        ) from error
    if not isinstance(header, dict):
        raise CheckpointError(f"The header of {path} is damaged: it is no JSON object.")
    return header


def _read_entry(name: str, entry: Any, data: int) -> tuple[Extent, TensorRef]:
    """Return position and shape of a tensor; ``data`` is the first byte of all data."""
    dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
    begin, end = entry["data_offsets"]  # bytes, from the end of the header
    if len(shape) > MAX_AXES:
        raise ValueError(f"it has {len(shape)} axes")
    for number in (begin, end, *shape):
        if not isinstance(number, int) or not 0 <= number < 2**62:
            raise ValueError(f"its shape or position has the number {brief(number)}")
    n_bytes = end - begin
    if n_bytes != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"a {dtype} of shape {shape} does not have {n_bytes:,} bytes")
    stride: list[int] = []
    step = 1  # row-major, as `torch.Tensor.contiguous` has it
    for axis_size in reversed(shape):
        stride.insert(0, step)
        step *= max(axis_size, 1)
    ref = tensor_ref(StorageRef(name, dtype, n_bytes), dtype, 0, shape, stride)
    alignment = min(dtype.itemsize, 8)
    return Extent(data + begin, n_bytes, alignment=alignment), ref
