"""A main job that takes half a second, recordings for it, and ways to spoil them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import ecgnb
from ecgnb.data.signal.leads import STANDARD_12

N = 40
TINY = {
    "PROFILE": "smoke",
    "PREPROCESS_LIMIT": 0,
    "EPOCHS": 1,
    "TARGET_FS": 100,
    "TARGET_SAMPLES": 1000,
    "MODEL_OPTIONS": {"widths": [8], "depths": [1]},
    "BATCH_SIZE_CPU": 16,
    "BOOTSTRAP_RESAMPLES": 20,
    "N_JOBS": 1,
}
STAGES = ("load_cohort", "prepare", "split", "train", "evaluate")
MAPPING = "unified_label_mapping.csv"


def job(stages: tuple[str, ...] = STAGES, **parameters: object) -> Any:
    """Open the run of these parameters and do the stages."""
    opened = ecgnb.open_run({**TINY, **parameters})
    for stage in stages:
        getattr(ecgnb, stage)(opened)
    return opened


def relabel(recordings: Path, label: Callable[[int, str], str]) -> Path:
    """Write the label file anew; ``label`` gets position and old label of each
    recording."""
    table = pd.read_csv(recordings / MAPPING, dtype=str)
    table["mapped_label"] = [
        label(place, old) for place, old in enumerate(table["mapped_label"])
    ]
    table.to_csv(recordings / MAPPING, index=False)
    return recordings


def wave(seed: int, n_samples: int = 5000, n_leads: int = 12) -> np.ndarray:
    """int16 ``[n_leads, n_samples]``, 1000 steps a mV."""
    random = np.random.default_rng(seed)
    time = np.arange(n_samples) / 500
    sine = np.sin(2 * np.pi * random.uniform(1, 20, (n_leads, 1)) * time)
    return np.rint(800 * sine + random.normal(0, 40, (n_leads, n_samples))).astype(
        "<i2"
    )


def write_wfdb(
    folder: Path, name: str, steps: np.ndarray, fs: float = 500, leads=STANDARD_12
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.dat").write_bytes(steps.T.astype("<i2").tobytes())
    rows = [
        f"{name}.dat 16 1000/mV 16 0 {row[0]} 0 0 {lead}"
        for row, lead in zip(steps, leads, strict=True)
    ]
    header = "\n".join([f"{name} {len(steps)} {fs:g} {steps.shape[1]}", *rows])
    (folder / f"{name}.hea").write_text(header + "\n", encoding="utf-8")
    return folder / f"{name}.hea"


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "half": halve,
    "empty": lambda file: file.write_bytes(b""),
    "gone": Path.unlink,
    "list": lambda file: file.write_text("[1]", encoding="utf-8"),
}
