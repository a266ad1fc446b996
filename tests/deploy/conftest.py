"""Fixtures of the tests of bundles."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecgnb.foundation.stand_in import SMALL, stand_in


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small fine-tuned ECG-FM checkpoint with random weights and 17 outputs."""
    return stand_in(tmp_path / "small.pt", n_classes=17, optimizer=False, **SMALL)
