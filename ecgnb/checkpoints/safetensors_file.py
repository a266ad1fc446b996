"""Files of safetensors: a JSON header with name, type, shape and place of each tensor,
then the bytes.

Source: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ecgnb.checkpoints.constructors import brief
from ecgnb.checkpoints.opcodes import Unpickled
from ecgnb.checkpoints.tensor_refs import (
    Extent,
    Opened,
    StorageRef,
    TensorRef,
    incomplete,
    view,
)
from ecgnb.core.errors import CheckpointError

#: A header may have no more bytes, by the format.
LONGEST_HEADER = 100_000_000

_DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
    "BOOL": torch.bool, "C64": torch.complex64, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Return whether a file of ``size`` bytes that begins with ``head`` has a header of
    safetensors.
    """
    length = int.from_bytes(head[:8], "little")
    return (
        head[8:9] == b"{"
        and 2 <= length <= LONGEST_HEADER
        and (length + 8 <= size or head[9:10] in b'"}')
    )


def read_safetensors(path: Path) -> Opened:
    """Read the header of a safetensors file.

    Raises:
        CheckpointError: the file is damaged or cut.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length + 8 > size:
            raise CheckpointError(incomplete(path, size, length + 8))
        header = _parsed(path, file.read(length))
    header.pop("__metadata__", None)
    extents, tensors = {}, {}
    for name, entry in header.items():
        try:
            extents[name], tensors[name] = _tensor(name, entry, length + 8)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise CheckpointError(
                f"The tensor {brief(name)} in {path} is damaged: {str(error)[:200]}."
            ) from error
        end = extents[name].start + extents[name].n_bytes
        if end > size:
            raise CheckpointError(incomplete(path, size, end))
    return Opened("safetensors", Unpickled(tensors, {}, set()), extents)


def _parsed(path: Path, header: bytes) -> dict[str, Any]:
    try:
        found = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"The header of {path} is damaged: it is no JSON ({str(error)[:200]}). Copy or download the file again."
        ) from error
    if not isinstance(found, dict):
        raise CheckpointError(f"The header of {path} is damaged: it is no JSON object.")
    return found


def _tensor(name: str, entry: Any, data: int) -> tuple[Extent, TensorRef]:
    dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
    begin, end = entry["data_offsets"]
    numbers = [begin, end, *shape]
    if (
        not all(isinstance(number, int) and 0 <= number < 2**62 for number in numbers)
        or len(shape) > 64
    ):
        raise ValueError(f"its shape or place is {brief(str(numbers))}")
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(
            f"a {dtype} of shape {shape} does not have {end - begin:,} bytes"
        )
    stride = [
        math.prod(max(size, 1) for size in shape[axis + 1 :])
        for axis in range(len(shape))
    ]
    ref = view(StorageRef(name, dtype, end - begin), dtype, 0, shape, stride)
    return Extent(data + begin, end - begin, alignment=min(dtype.itemsize, 8)), ref
