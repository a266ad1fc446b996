"""Compare values of a checkpoint with those of PyTorch."""

from __future__ import annotations

from typing import Any

import torch

from ecgnb.checkpoints.container import Checkpoint


def same(result: Any, expected: Any, checkpoint: Checkpoint) -> bool:
    """Whether values are equal, every tensor bit for bit and with its strides."""
    if isinstance(expected, torch.Tensor):
        tensor = checkpoint.tensor(result)
        described = (result.dtype, result.shape, result.stride) == (
            expected.dtype,
            expected.shape,
            expected.stride(),
        )
        bits = (
            item.contiguous().view(-1).view(torch.uint8)
            for item in (tensor, expected.detach())
        )
        return described and tensor.stride() == expected.stride() and torch.equal(*bits)
    if isinstance(expected, dict):
        return list(result) == list(expected) and all(
            same(result[key], expected[key], checkpoint) for key in expected
        )
    if isinstance(expected, list | tuple):
        return type(result) is type(expected) and all(
            map(same, result, expected, [checkpoint] * len(expected))
        )
    return type(result) is type(expected) and result == expected


#: Dtypes that `torch.save` and safetensors write.
DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.complex64, torch.complex128,
    torch.float8_e4m3fn, torch.float8_e5m2,
)  # fmt: skip
