"""A writer of small WFDB records for the tests of the readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

Writer = Callable[..., Path]


@pytest.fixture
def write_record(tmp_path: Path) -> Writer:
    """Write header text and one binary file beside it; return the header's path."""

    def write(
        header: str | bytes,
        content: bytes = b"",
        name: str = "r1",
        file: str | None = None,
    ) -> Path:
        path = tmp_path / f"{name}.hea"
        path.write_bytes(header.encode() if isinstance(header, str) else header)
        (tmp_path / (file or f"{name}.dat")).write_bytes(content)
        return path

    return write


@pytest.fixture
def write_int16(write_record: Writer) -> Writer:
    """Write int16 samples ``[n, k]`` with one gain field a signal; return the header's
    path."""

    def write(
        samples: np.ndarray,
        gains: Sequence[str],
        leads: Sequence[str] = (),
        name: str = "r1",
    ) -> Path:
        names = leads or [f"V{index + 1}" for index in range(len(gains))]
        lines = [f"{name} {len(gains)} 500 {len(samples)}"]
        lines += [
            f"{name}.dat 16 {gain} 16 0 0 0 0 {lead}"
            for gain, lead in zip(gains, names, strict=True)
        ]
        return write_record(
            "\n".join(lines) + "\n", samples.astype("<i2").tobytes(), name
        )

    return write
