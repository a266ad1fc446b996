"""The job as a command, killed at any moment or spread over processes: in the end
everything is as if it never was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import Command
from kills import KILLS

import ecgnb
from ecgnb.core import files
from ecgnb.run import session
from ecgnb.training.checkpoint import read_checkpoint
from ecgnb.training.launch import free_port

posix = pytest.mark.skipif(os.name == "nt", reason="kills a group of processes")

SMALL = {
    "PREPROCESS_LIMIT": 48,
    "TARGET_FS": 100,
    "TARGET_SAMPLES": 1000,
    "SHARD_SIZE": 1,
    "N_JOBS": 1,
    "EPOCHS": 3,
    "BATCH_SIZE_CPU": 4,
    "CHECKPOINT_EVERY_STEPS": 1,
    "DEVICE": "cpu",
    "MODEL_OPTIONS": '{"widths": [8], "depths": [1]}',
    "AUGMENT": "gaussian_noise",
    "BOOTSTRAP_RESAMPLES": 20,
}
TIMES = ["seconds", "records_per_s"]


def command(home: Path, *arguments: str, **parameters: object) -> Command:
    """Start a command that may be killed."""
    home.mkdir(exist_ok=True)
    environment = {"ECGNB_HOME": str(home), "ECGNB_PROGRESS": "lines"}
    output = home / "printed.txt"
    return Command([*arguments, *options(parameters)], environment, output)


def options(parameters: dict[str, object]) -> list[str]:
    texts = []
    for name, value in parameters.items():
        texts += ["-p", name, str(value)]
    return texts


def kill_when(process: Command, seen: Callable[[], bool]) -> None:
    """Kill as soon as something is seen on the disk."""
    while not seen() and not process.wait(0.005):
        pass
    assert process.running(), "it ended before it could be killed"
    process.kill()


def start(
    home: Path,
    *arguments: str,
    module: tuple[str, ...] = ("ecgnb",),
    **parameters: object,
) -> subprocess.Popen:
    """Start a command as a shell does, also with torchrun as ``module``."""
    environment = {
        **os.environ,
        "ECGNB_HOME": str(home),
        "ECGNB_PROGRESS": "lines",
        "OMP_NUM_THREADS": "1",
    }
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", *module, *arguments, *options(parameters)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> str:
    """Wait for the end; return what was printed."""
    printed = process.communicate(timeout=300)[0]
    assert process.returncode == 0, printed
    return printed


def opened(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ECGNB_HOME", str(home))
    monkeypatch.setattr(session, "_opened", None)
    return session.open_run()


def assert_same_results(left, right) -> None:
    """Demo, store, splits, history and weights of two runs are the same, bit for
    bit."""
    for run in (left, right):
        assert not list(run.root.rglob(".tmp-*"))
    for pattern in (
        "artifacts/demo/*/**/*.dat",
        "artifacts/demo/*/**/*.hea",
        "artifacts/stores/*/*.npy",
    ):
        one, two = (sorted(run.root.glob(pattern)) for run in (left, right))
        assert one and [path.name for path in one] == [path.name for path in two]
        assert all(
            a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True)
        )
    pd.testing.assert_frame_equal(
        left.store.records.drop(columns="path"),
        right.store.records.drop(columns="path"),
    )
    pd.testing.assert_frame_equal(
        left.history.drop(columns=TIMES),
        right.history.drop(columns=TIMES),
        check_exact=True,
    )
    parts = [files.read_json(run.path("splits.json"))["parts"] for run in (left, right)]
    assert parts[0] == parts[1]
    for name in ("last.ckpt", "best.ckpt"):
        one, two = (
            read_checkpoint(run.path("checkpoints", name)) for run in (left, right)
        )
        assert one["model"].keys() == two["model"].keys()
        assert all(
            torch.equal(one["model"][key], two["model"][key]) for key in one["model"]
        )
        assert one.get("state", {}).get("step") == two.get("state", {}).get("step")


@posix
def test_killed_while_making_the_demo_and_while_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(tmp_path / "whole", "train", **SMALL).finish()
    home = tmp_path / "killed"
    kill_when(
        command(home, "train", **SMALL),
        lambda: len(list(home.glob("artifacts/demo/*/records/*.dat"))) >= 10,
    )
    assert not list(home.glob("artifacts/demo/*/demo.json"))
    kill_when(
        command(home, "train", **SMALL),
        lambda: bool(list(home.glob("artifacts/runs/*/checkpoints/last.ckpt"))),
    )
    assert not list(home.glob("artifacts/runs/*/stages/train.json"))
    printed = command(home, "train", **SMALL).finish()
    assert "Going on at epoch" in printed
    assert_same_results(
        opened(tmp_path / "whole", monkeypatch), opened(home, monkeypatch)
    )


@posix
@pytest.mark.slow
def test_killed_at_random_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property
) -> None:
    began = time.monotonic()
    command(tmp_path / "whole", "train", **SMALL).finish()
    total_seconds = time.monotonic() - began
    random = np.random.default_rng(20)
    killed_stages: Counter[str] = Counter()
    homes: list[Path] = []
    # Preparing is short, so one more kill is aimed at it.
    prepared = tmp_path / "prepared"
    kill_when(
        command(prepared, "train", **SMALL),
        lambda: bool(list(prepared.glob("artifacts/stores/*/shard-020.json"))),
    )
    assert not list(prepared.glob("artifacts/stores/*/manifest.json"))
    command(prepared, "train", **SMALL).finish()
    while killed_stages.total() < KILLS:
        homes.append(tmp_path / f"killed{len(homes)}")
        while killed_stages.total() < KILLS:
            since, process = time.time(), command(homes[-1], "train", **SMALL)
            if process.wait(random.uniform(0.1, total_seconds)):
                process.finish()
                break
            process.kill()
            killed_stages[running_stage(homes[-1], since)] += 1
    command(homes[-1], "train", **SMALL).finish()
    record_property("killed_stages", dict(killed_stages))
    whole = opened(tmp_path / "whole", monkeypatch)
    for home in (prepared, *homes):
        assert_same_results(whole, opened(home, monkeypatch))
    assert killed_stages.total() == KILLS


def running_stage(home: Path, since: float) -> str:
    """Return the stage of a process that started at ``since`` and was killed: "start"
    if it had written nothing.
    """
    folders: set[str] = set()
    for path in home.rglob("*"):
        if path.is_file() and path.stat().st_mtime >= since:
            folders.update(path.parts)
    for stage, folder in STAGE_FOLDERS.items():
        if folder in folders:
            return stage
    return "start"


#: What each stage writes, the last stage first.
STAGE_FOLDERS = {"train": "checkpoints", "prepare": "stores", "demo": "demo"}


TWO = {
    **SMALL,
    "PREPROCESS_LIMIT": 40,
    "BATCH_SIZE_CPU": 8,
    "CHECKPOINT_EVERY_STEPS": 0,
}


@pytest.mark.slow
def test_two_processes_by_a_parameter_and_by_torchrun_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = finish(start(tmp_path / "spawned", "train", **TWO, DEVICES=2))
    assert (
        printed.count("Stored 40 recordings") == 1 and printed.count("Best epoch") == 1
    )
    spawned = opened(tmp_path / "spawned", monkeypatch)
    last = read_checkpoint(spawned.path("checkpoints", "last.ckpt"))
    assert last["identity"]["processes"] == 2
    assert len(ecgnb.evaluate(spawned))
    assert len(spawned.predictions) == len(spawned.splits.test)
    best = spawned.path("checkpoints", "best.ckpt")
    before = best.stat().st_mtime_ns
    assert len(ecgnb.train(spawned)) == 3  # a finished training is not repeated
    assert best.stat().st_mtime_ns == before

    printed = torchrun(tmp_path / "new", "train", **TWO)
    assert [
        printed.count(text)
        for text in ("Stored 40 recordings", "Best epoch", "epoch 1/3:")
    ] == [1, 1, 1]
    run = opened(tmp_path / "new", monkeypatch)
    assert len(ecgnb.evaluate(run)) and not list(run.root.rglob(".tmp-*"))
    pd.testing.assert_frame_equal(
        run.history.drop(columns=TIMES),
        spawned.history.drop(columns=TIMES),
        check_exact=True,
    )

    existing = session.open_run({**TWO, "SEED": 1})
    processes = two_processes(tmp_path / "new", "train", existing.name)
    printed = "".join(process.finish() for process in processes)
    assert "Stored 40 recordings" not in printed and printed.count("Best epoch") == 1
    assert len(existing.history) == 3


def torchrun(home: Path, *arguments: str, **parameters: object) -> str:
    """Return what a command in two processes of torchrun prints."""
    module = ("torch.distributed.run", "--nproc-per-node", "2")
    module += ("--master-port", str(free_port()), "-m", "ecgnb")
    return finish(start(home, *arguments, module=module, **parameters))


def two_processes(home: Path, *arguments: str, **parameters: object) -> list[Command]:
    """Start the command in two processes that have the environment which torchrun
    gives.
    """
    shared = {
        "ECGNB_HOME": str(home),
        "ECGNB_PROGRESS": "lines",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    home.mkdir(exist_ok=True)
    processes = []
    for rank in ("0", "1"):
        environment = {**shared, "RANK": rank, "LOCAL_RANK": rank}
        output = home / f"printed{rank}.txt"
        processes.append(
            Command([*arguments, *options(parameters)], environment, output)
        )
    return processes


def test_two_processes_with_a_bad_parameter_end_with_its_message(
    tmp_path: Path,
) -> None:
    first, second = two_processes(tmp_path, "train", DATASET_DIR=tmp_path / "nowhere")
    assert first.wait(300) and second.wait(300)
    printed = first.output.read_text(encoding="utf-8")
    assert first.process.exitcode and second.process.exitcode
    assert re.search(r"nowhere.* no folder", printed)
