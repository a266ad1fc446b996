"""Small WFDB cohorts for the tests of preparation, store and splits."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

TWELVE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def write_wfdb(
    folder: Path,
    name: str,
    steps: np.ndarray,
    fs: float = 500,
    leads=TWELVE,
    gain: float = 1000,
) -> Path:
    """Write int16 ``[n_leads, n_samples]`` as a WFDB record; -32768 is "no value"."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = np.ascontiguousarray(steps, dtype="<i2")
    steps.T.tofile(folder / f"{name}.dat")
    lines = [f"{name} {len(steps)} {fs:g} {steps.shape[1]}"]
    for lead, row in zip(leads, steps, strict=True):
        total = int(row.astype(np.int64).sum()) & 0xFFFF
        lines.append(
            f"{name}.dat 16 {gain:g}/mV 16 0 {row[0]} {total - (total >> 15 << 16)} 0 {lead}"
        )
    header = folder / f"{name}.hea"
    header.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return header


def wave_steps(seed: int, n_leads: int = 12, n_samples: int = 5000) -> np.ndarray:
    """Return int16 steps of a smooth random signal of about 1 mV at 1000 steps a mV,
    with no plateau."""
    generator = np.random.default_rng(seed)
    t = np.arange(n_samples) / 500
    frequency = generator.uniform(1, 20, size=(n_leads, 1))
    wave = 800 * np.sin(2 * np.pi * frequency * t) + generator.normal(
        0, 40, size=(n_leads, n_samples)
    )
    return np.rint(wave).astype(np.int16)


def manifest_of(paths, *, dataset: str = "test", **columns) -> pd.DataFrame:
    """Return a manifest of whole files, or with the columns given."""
    n = len(paths)
    table = pd.DataFrame(
        {
            "dataset": dataset,
            "record_id": [Path(path).stem for path in paths],
            "path": [Path(path).as_posix() for path in paths],
            "patient_id": [f"p{number}" for number in range(n)],
            "fold": pd.array([None] * n, dtype="Int64"),
            "fs": float("nan"),
            "n_samples": pd.array([None] * n, dtype="Int64"),
            "leads": "",
            "start": pd.array([0] * n, dtype="Int64"),
            "label": "",
        }
    )
    return table.assign(**columns)


def write_cohort(
    folder: Path, n: int, n_leads: int = 2, n_samples: int = 1000
) -> pd.DataFrame:
    """Write ``n`` good records and return their manifest."""
    leads = TWELVE[:n_leads]
    paths = [
        write_wfdb(
            folder, f"{number:05d}", wave_steps(number, n_leads, n_samples), leads=leads
        )
        for number in range(n)
    ]
    return manifest_of(paths)


def content(folder: Path) -> dict[str, str]:
    """Return name and hash of every file of a store."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }
