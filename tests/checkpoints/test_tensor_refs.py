from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from hostile_pickles import TENSOR, container, tensor

from ecgnb.checkpoints.container import open_checkpoint
from ecgnb.checkpoints.inert import Inert
from ecgnb.core.errors import CheckpointError


def test_tensors_of_other_kinds_stay_notes(tmp_path: Path) -> None:
    held = {"conjugated": torch.ones(2, dtype=torch.complex64).conj(), "sparse": torch.eye(3).to_sparse(),
            "meta": torch.empty(3, device="meta")}  # fmt: skip
    torch.save(held, tmp_path / "odd.pt")
    result = open_checkpoint(tmp_path / "odd.pt").contents
    assert {key: value.name for key, value in result.items()} == {
        "conjugated": "torch._utils._rebuild_tensor_v2",
        "sparse": "torch._utils._rebuild_sparse_tensor",
        "meta": "torch._utils._rebuild_meta_tensor_no_storage",
    }


LIES = {
    "more elements than the storage": {"shape": b"K\x05\x85"},
    "behind the storage": {"offset": b"K\x01"},
    "stride over the end": {"stride": b"K\x02\x85"},
    "negative offset": {"offset": b"J\xff\xff\xff\xff"},
    "negative size": {"shape": b"J\xff\xff\xff\xff\x85"},
    "negative stride": {"stride": b"J\xff\xff\xff\xff\x85"},
    "sizes that overflow": {
        "shape": b"\x8a\x08" + struct.pack("<q", 2**61) + b"\x85",
        "stride": b"K\x00\x85",
    },
    "repeated without end": {"shape": b"J\x00\x00\x00\x7f\x85", "stride": b"K\x00\x85"},
    "axes that do not fit": {"stride": b"K\x01K\x01\x86"},
    "size a float": {"shape": b"G\x40\x10\x00\x00\x00\x00\x00\x00\x85"},
    "size a truth": {"shape": b"\x88\x85"},
    "storage larger than its bytes": {"numel": 5},
    "negative storage": {"numel": -1},
}


@pytest.mark.parametrize("lie", LIES)
def test_descriptions_that_lie_are_refused_before_use(tmp_path: Path, lie: str) -> None:
    honest = open_checkpoint(
        container(tmp_path / "honest.pt", tensor(), {"0": bytes(16)})
    )
    assert torch.equal(honest.tensor(honest.contents["w"]), torch.zeros(4))
    path = container(tmp_path / "lie.pt", tensor(**LIES[lie]), {"0": bytes(16)})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="pickle is damaged"):
        open_checkpoint(path)


def test_odd_calls_of_tensor_builders_stay_notes(tmp_path: Path) -> None:
    calls = (
        b"ctorch._utils\n_rebuild_tensor_v2\n)R"
        + b"ctorch._utils\n_rebuild_parameter\nK\x01\x85R"
    )
    calls += b"ctorch._tensor\n_rebuild_from_type_v2\n(K\x01K\x02K\x03K\x04tR"
    calls += TENSOR.replace(b"torch\nFloatStorage", b"evil\nFloatStorage")
    path = container(
        tmp_path / "odd.pt", b"\x80\x02(" + calls + b"l.", {"0": bytes(16)}
    )
    assert all(isinstance(item, Inert) for item in open_checkpoint(path).contents)
