"""Ported Keras models: time of the port, and inference against Keras on the torch
backend.

Keras runs in a process of its own, by the interpreter that ``ECGNB_KERAS_PYTHON`` names
(this one, where it is not set); both take turns with the same batch of 8, the same
torch threads and nothing else running. Models are those of ``ECGNB_TEST_GOLDEN`` that
Keras 3 reads; without Keras or models only the port itself is timed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import row

EXAMPLE = Path(__file__).parents[1] / "examples" / "keras_bbb" / "model.json"
MODELS = (
    "pathology_avb/model.keras",
    "generic_ecg/model.keras",
    "ribeiro_small/model.keras",
)
BATCH = 8
WORKER = Path(__file__).with_name("keras_worker.py")


def run(quick: bool) -> list[dict[str, Any]]:
    """Time the port of each model, and its inference against Keras."""
    golden = Path(os.environ.get("ECGNB_TEST_GOLDEN", "")) / "keras"
    files = [golden / name for name in MODELS if (golden / name).is_file()] or [EXAMPLE]
    rows = []
    for file in files:
        rows += _rows(file, 5 if quick else 20)
    return rows


def _rows(file: Path, turns: int) -> list[dict[str, Any]]:
    from ecgnb.port import port_keras

    name = f"{file.parent.name}"
    spent = []
    for _ in range(3):
        started = time.perf_counter()
        port = port_keras(file)
        spent.append(time.perf_counter() - started)
    shape = next(iter(port.origin.inputs.values()))
    x = np.random.default_rng(0).normal(size=(BATCH, *shape[1:])).astype(np.float32)
    ours, theirs = _by_turns(port, file, x, turns)
    return [
        row(f"port {name}", 1000 * max(spent), None, "ms", "<= 1000 ms"),
        row(
            f"{name}, batch {BATCH}, against Keras on torch",
            1000 * ours,
            theirs and 1000 * theirs,
            "ms",
            ">= 1.5 x",
        ),
    ]


def _by_turns(
    port: torch.nn.Module, file: Path, x: np.ndarray, turns: int
) -> tuple[float, float | None]:
    """Return the median seconds per call of the port and of Keras (None without
    Keras).
    """
    calls, signal = 10, torch.from_numpy(x)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        worker = _start(file, x, Path(folder))
        for _ in range(turns + 1):  # the first turn warms up
            started = time.perf_counter()
            for _ in range(calls):
                port(signal)
            ours.append((time.perf_counter() - started) / calls)
            if worker:
                assert worker.stdin and worker.stdout
                worker.stdin.write(f"{calls}\n")
                worker.stdin.flush()
                theirs.append(float(worker.stdout.readline()))
        if worker:
            worker.communicate()
    return statistics.median(ours[1:]), statistics.median(
        theirs[1:]
    ) if theirs else None


def _start(file: Path, x: np.ndarray, folder: Path) -> subprocess.Popen[str] | None:
    """Start Keras; None, with a printed reason, if it is missing or cannot read the
    file.
    """
    np.save(folder / "x.npy", x)
    python = os.environ.get("ECGNB_KERAS_PYTHON", sys.executable)
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    worker = subprocess.Popen(
        [python, str(WORKER), str(file), str(folder / "x.npy")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    assert worker.stdout
    answer = worker.stdout.readline().split()
    if answer[:1] == ["ready"]:
        print(f"  against Keras {answer[1]}")
        return worker
    print(
        f"  {python} has no Keras that reads {file.name}: set ECGNB_KERAS_PYTHON; only the port is timed"
    )
    worker.wait()
    return None


if __name__ == "__main__":
    for result in run(quick="--quick" in sys.argv):
        print(result)
