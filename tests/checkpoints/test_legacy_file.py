from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ecgnb.checkpoints.container import open_checkpoint
from ecgnb.core.errors import CheckpointError


def test_a_big_endian_legacy_file(tmp_path: Path) -> None:
    torch.save([1], tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    data = (tmp_path / "old.pt").read_bytes()
    position = data.index(b"little_endian") + len(b"little_endian")
    assert data[position : position + 3] == b"q\x02\x88"
    (tmp_path / "old.pt").write_bytes(
        data[: position + 2] + b"\x89" + data[position + 3 :]
    )
    with pytest.raises(CheckpointError, match="big-endian"):
        open_checkpoint(tmp_path / "old.pt")
