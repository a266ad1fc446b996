from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from ecgnb.core.errors import PortError
from ecgnb.port.source.dependencies import Dependencies


def test_source_refuses_what_has_no_source(tmp_path: Path) -> None:
    class Local(nn.Identity):
        pass

    with pytest.raises(PortError, match="neither of PyTorch nor of ecgnb"):
        Dependencies().name(Local)
    with pytest.raises(PortError, match="may import PyTorch only"):
        Dependencies().add_import("import numpy as np")
