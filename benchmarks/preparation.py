"""Preparation and random batches against the common recipe, side by side in one
process.

The common recipe is ``wfdb.rdrecord``, ``scipy.signal.resample_poly`` where the rates
differ, a z-score, and one ``np.savez_compressed`` per record, read back by a map-style
Dataset. ecgnb reads, checks, resamples, quantises, hashes and writes whole shards with
their checksums, and reads batches by row number.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measure import row

FS, SECONDS, LEADS = (
    500,
    10,
    ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"),
)
BATCH = 64
#: Records that the common recipe prepares in a round.
PART = 64


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure everything; return one row per figure (`benchmarks.measure.row`)."""
    n = 512 if quick else 1024  # whole shards, as in real use
    with tempfile.TemporaryDirectory() as name, _quiet():
        folder = Path(name)
        manifest = write_cohort(folder / "records", 4 * n)
        rows = [
            _preparation(folder, manifest.head(n), target_fs, rounds=3 if quick else 5)
            for target_fs in (500.0, 250.0)
        ]
        rows.append(_batches(folder, rounds=20 if quick else 100))
        rows.append(_memory(folder, n))
    return rows


def write_cohort(folder: Path, n: int, seed: int = 0) -> pd.DataFrame:
    """Write ``n`` synthetic 12-lead WFDB records of 10 s at 500 Hz and return their
    manifest.
    """
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for number in range(n):
        name = f"{number:05d}"
        steps = np.rint(1000 * synthetic_signal(generator)).astype("<i2")
        steps.T.tofile(folder / f"{name}.dat")
        lines = [f"{name} {len(LEADS)} {FS} {FS * SECONDS}"]
        for lead, steps_of_lead in zip(LEADS, steps, strict=True):
            checksum = int(steps_of_lead.astype(np.int64).sum()) & 0xFFFF
            lines.append(
                f"{name}.dat 16 1000/mV 16 0 {steps_of_lead[0]} {checksum - (checksum >> 15 << 16)} 0 {lead}"
            )
        (folder / f"{name}.hea").write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = [f"{number:05d}" for number in range(n)]
    return pd.DataFrame(
        {
            "dataset": "synthetic",
            "record_id": names,
            "path": [(folder / f"{name}.hea").as_posix() for name in names],
            "patient_id": names,
            "fold": pd.array([1 + number % 10 for number in range(n)], dtype="Int64"),
            "fs": float(FS),
            "n_samples": pd.array([FS * SECONDS] * n, dtype="Int64"),
            "leads": "|".join(LEADS),
            "start": pd.array([0] * n, dtype="Int64"),
            "label": "NORM",
        }
    )


def synthetic_signal(generator: np.random.Generator) -> np.ndarray:
    """Return float64 ``[12, 5000]`` mV: beats of five waves, baseline wander and
    noise.
    """
    t = np.arange(FS * SECONDS) / FS
    beats = np.arange(generator.uniform(0, 1), SECONDS, generator.uniform(0.6, 1.1))
    limb = np.zeros((8, len(t)))
    for offset, width, size in (
        (-0.18, 0.03, 0.12),
        (-0.03, 0.01, -0.1),
        (0, 0.012, 1),
        (0.03, 0.01, -0.2),
        (0.28, 0.06, 0.3),
    ):
        wave = np.exp(-0.5 * ((t - beats[:, None] - offset) / width) ** 2).sum(axis=0)
        limb += generator.normal(size, 0.3 * abs(size), size=(8, 1)) * wave
    limb += 0.1 * np.sin(
        2 * np.pi * generator.uniform(0.1, 0.4, size=(8, 1)) * t
    ) + generator.normal(0, 0.01, limb.shape)
    first, second = limb[0], limb[1]
    augmented = [
        second - first,
        -(first + second) / 2,
        first - second / 2,
        second - first / 2,
    ]
    return np.vstack([limb[:2], augmented, limb[2:]])


def common_recipe(header: str, target_fs: float, folder: Path) -> None:
    """Prepare one record as most training scripts do."""
    import wfdb
    from scipy.signal import resample_poly

    record = wfdb.rdrecord(header.removesuffix(".hea"))
    signal = record.p_signal
    if record.fs != target_fs:
        signal = resample_poly(signal, int(target_fs), int(record.fs), axis=0)
    signal = ((signal - signal.mean(axis=0)) / (signal.std(axis=0) + 1e-8)).T.astype(
        np.float32
    )
    np.savez_compressed(folder / f"{Path(header).stem}.npz", signal=signal)


def _preparation(
    folder: Path, manifest: pd.DataFrame, target_fs: float, rounds: int
) -> dict[str, Any]:
    from ecgnb.data.config import PrepareConfig
    from ecgnb.data.store.preparation import prepare_store

    config = PrepareConfig(
        target_fs=target_fs, target_samples=int(target_fs * SECONDS), n_jobs=1
    )
    theirs_folder = folder / f"npz-{target_fs:g}"
    theirs_folder.mkdir()
    paths = manifest["path"].tolist()
    store = folder / f"store-{target_fs:g}"
    prepare_store(
        manifest, config, store
    )  # warms up: file cache, imports, and pages that a fresh virtual machine lacks
    ours, theirs = [], []
    for number in range(
        rounds
    ):  # taking turns, so that a busy moment of the machine meets both
        shutil.rmtree(store)
        ours.append(_seconds(lambda: prepare_store(manifest, config, store)))
        part = paths[PART * number : PART * (number + 1)]
        seconds = _seconds(
            lambda part=part: [
                common_recipe(path, target_fs, theirs_folder) for path in part
            ]
        )
        theirs.append(seconds / len(part))
    name = f"prepare a 12 x {FS * SECONDS} record, {FS} -> {target_fs:g} Hz"
    own_ms = 1000 * statistics.median(ours) / len(paths)
    return row(
        name,
        own_ms,
        1000 * statistics.median(theirs),
        "ms per record",
        ">= 20x" if target_fs == FS else ">= 5x",
    )


def _batches(folder: Path, rounds: int) -> dict[str, Any]:
    from torch.utils.data import DataLoader, Dataset

    from ecgnb.data.store.store import SignalStore

    class Files(Dataset):
        paths = sorted((folder / "npz-500").glob("*.npz"))

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> np.ndarray:
            with np.load(self.paths[index % len(self.paths)]) as file:
                return file["signal"]

    store = SignalStore.open(folder / "store-500")
    generator = np.random.default_rng(0)
    ours, theirs = [], []
    for number in range(rounds):
        rows = generator.integers(0, len(store), BATCH)
        ours.append(_seconds(lambda rows=rows: store.read(rows)))
        if number % 5 == 0:
            loader = DataLoader(Files(), batch_size=BATCH, sampler=rows.tolist())
            theirs.append(_seconds(lambda loader=loader: next(iter(loader))))
    medians = (
        1000 * statistics.median(ours) / BATCH,
        1000 * statistics.median(theirs) / BATCH,
    )
    return row(
        f"random batch of {BATCH}, 12 x {FS * SECONDS}",
        *medians,
        "ms per record",
        ">= 10x",
    )


def _memory(folder: Path, n: int) -> dict[str, Any]:
    """Compare the peak memory of preparing 4N records (ours) with that of N (in the
    column "theirs").
    """
    small, large = (_peak_mb(folder, count) for count in (n, 4 * n))
    return row(
        f"peak memory, {4 * n} records against {n}", large, small, "MB", ">= 0.9x"
    )


def _peak_mb(folder: Path, n: int) -> float:
    """Prepare ``n`` records in a process of its own, in shards of 64, and return its
    peak memory.
    """
    code = (
        "import re, resource, sys; from pathlib import Path; import pandas as pd;"
        "from ecgnb.data.manifest import read_manifest; from ecgnb.data.config import PrepareConfig; from ecgnb.data.store.preparation import prepare_store;"
        "folder, n = Path(sys.argv[1]), int(sys.argv[2]);"
        "prepare_store(read_manifest(folder / 'manifest.csv').head(n), PrepareConfig(n_jobs=1, shard_size=64),"
        " folder / f'memory-{n}');"
        # What getrusage says on Linux includes the parent's memory before exec.
        "status = Path('/proc/self/status');"
        "print(re.search(r'VmHWM:\\s*(\\d+)', status.read_text())[1] if status.exists()"
        " else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    table = folder / "manifest.csv"
    if not table.exists():
        from ecgnb.data.manifest import as_manifest, write_manifest

        headers = sorted((folder / "records").glob("*.hea"))
        write_manifest(
            table,
            as_manifest(
                [
                    {
                        "dataset": "synthetic",
                        "record_id": h.stem,
                        "path": h.as_posix(),
                        "leads": "|".join(LEADS),
                    }
                    for h in headers
                ]
            ),
        )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(n)],
        check=True,
        capture_output=True,
        text=True,
    )
    unit = (
        1 if sys.platform == "darwin" else 1024
    )  # macOS counts bytes, Linux kilobytes
    return float(done.stdout.split()[-1]) * unit / 1e6


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = os.environ.get("ECGNB_PROGRESS")
    os.environ["ECGNB_PROGRESS"] = "quiet"
    try:
        yield
    finally:
        if before is None:
            del os.environ["ECGNB_PROGRESS"]
        else:
            os.environ["ECGNB_PROGRESS"] = before
