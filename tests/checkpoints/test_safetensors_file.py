from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tensor_checks import DTYPES, same

from ecgnb.checkpoints.container import open_checkpoint
from ecgnb.core.errors import CheckpointError


def test_safetensors(tmp_path: Path) -> None:
    own = {
        str(dtype): (torch.rand(3, 5) * 9).to(dtype)
        for dtype in DTYPES
        if dtype != torch.complex128
    }
    held = own | {"odd": torch.ones(3, dtype=torch.uint8), "after": torch.ones(2, dtype=torch.bfloat16),
                  "scalar": torch.tensor(1.5), "empty": torch.empty(0, 2)}  # fmt: skip
    path = tmp_path / "model.safetensors"
    save_file(held, path, metadata={"format": "pt"})
    checkpoint = open_checkpoint(path)
    assert checkpoint.kind == "safetensors" and not checkpoint.globals
    expected = load_file(path)
    assert same(
        checkpoint.contents,
        {name: expected[name] for name in checkpoint.contents},
        checkpoint,
    )
    assert len(checkpoint.contents) == len(held) and list(checkpoint.state_dicts()) == [
        ""
    ]


SAFETENSORS = {
    "no json": (b"{nope", "no JSON"),
    "a list": (b"[]", "no PyTorch checkpoint"),
    "offsets beyond": (
        b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
        "is incomplete",
    ),
    "size and offsets": (
        b'{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}',
        "does not have 8 bytes",
    ),
    "negative": (
        b'{"w":{"dtype":"F32","shape":[-1],"data_offsets":[8,4]}}',
        "is damaged",
    ),
    "unknown type": (
        b'{"w":{"dtype":"F9","shape":[],"data_offsets":[0,4]}}',
        "is damaged",
    ),
    "nested": (b'{"w":' + b"[" * 100_000, "no JSON"),
    "no entry": (b'{"w":5}', "is damaged"),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_damaged_safetensors(tmp_path: Path, case: str) -> None:
    header, message = SAFETENSORS[case]
    (tmp_path / "a.safetensors").write_bytes(
        struct.pack("<Q", len(header)) + header + bytes(8)
    )
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path / "a.safetensors")
