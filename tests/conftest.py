"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("ECGNB_PROGRESS", "quiet")
os.environ.setdefault("MPLBACKEND", "Agg")


def _folder_of(variable: str, what: str) -> Path:
    folder = os.environ.get(variable, "")
    if not folder:
        pytest.skip(f"set {variable} to the folder of {what} to run this test")
    return Path(folder)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real public recordings; tests that need it are skipped without it."""
    return _folder_of("ECGNB_TEST_DATA", "real recordings")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of golden files; tests that need it are skipped without it."""
    return _folder_of("ECGNB_TEST_GOLDEN", "golden files")
