"""Fixtures of the tests of checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def golden(golden_dir: Path) -> Path:
    """Folder of checkpoints that the original trainer of ECG-FM wrote."""
    return golden_dir / "ecg_fm"
