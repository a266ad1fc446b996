from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from commands import launch_fast
from training_fakes import fit_fake, make_model, note_rank, spawn_training

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.training.checkpoint import read_checkpoint
from ecgnb.training.config import TrainConfig
from ecgnb.training.launch import launch

# 37 = 3 * 12 + 1 records: in the last step of an epoch one of two processes has no
# record of its own.
ONE: dict[str, Any] = {"epochs": 3, "batch_size_cpu": 12, "lr": 1e-2, "device": "cpu"}
TWO = ONE | {"batch_size_cpu": 6, "devices": 2}


@pytest.fixture
def fast_start(monkeypatch: pytest.MonkeyPatch) -> None:
    launch_fast(monkeypatch)


def model_of(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")["model"]


def test_two_processes_are_one_with_group_norm(
    tmp_path: Path, fast_start: None
) -> None:
    fit_fake(TrainConfig(**ONE), tmp_path / "one", dropout=0.0)
    spawn_training(TWO, tmp_path / "two", "group", 0.0)
    one, two = (pd.read_csv(tmp_path / name / "history.csv") for name in ("one", "two"))
    for name in ("train_loss", "valid_loss", "macro_f1", "macro_auroc"):
        np.testing.assert_allclose(one[name], two[name], atol=1e-5, rtol=0)
    left, right = model_of(tmp_path / "one"), model_of(tmp_path / "two")
    assert max((left[name] - right[name]).abs().max().item() for name in left) < 1e-5


@pytest.mark.slow
def test_batch_norm_trains_and_resumes_exactly(
    tmp_path: Path, fast_start: None
) -> None:
    settings = TWO | {"checkpoint_every_steps": 3}
    spawn_training(settings, tmp_path / "whole", "batch", 0.2)
    history = pd.read_csv(tmp_path / "whole" / "history.csv")
    assert history["train_loss"].iloc[-1] < 0.5 * history["train_loss"].iloc[0]
    for stop in (5, 10):
        with pytest.raises(EcgnbError, match="One of 2 training processes failed"):
            spawn_training(settings, tmp_path / "parts", "batch", 0.2, stop)
    spawn_training(settings, tmp_path / "parts", "batch", 0.2)
    left, right = model_of(tmp_path / "whole"), model_of(tmp_path / "parts")
    assert all(torch.equal(left[name], right[name]) for name in left)
    resumed = pd.read_csv(tmp_path / "parts" / "history.csv")
    times = ["seconds", "records_per_s"]
    pd.testing.assert_frame_equal(
        history.drop(columns=times), resumed.drop(columns=times), check_exact=True
    )


@pytest.mark.slow
def test_two_processes_are_one_with_a_frozen_body(
    tmp_path: Path, fast_start: None
) -> None:
    """A frozen batch normalisation has no statistics of its own processes, and DDP
    waits for no gradient of it."""
    frozen = {"freeze": "body", "layer_decay": 0.5}
    fit_fake(
        TrainConfig(**ONE, **frozen), tmp_path / "one", norm="resnet1d", dropout=0.0
    )
    spawn_training(TWO | frozen, tmp_path / "two", "resnet1d", 0.0)
    left, right, start = (
        model_of(tmp_path / "one"),
        model_of(tmp_path / "two"),
        make_model("resnet1d").state_dict(),
    )
    assert all(
        torch.equal(right[name], start[name])
        for name in start
        if not name.startswith("head.")
    )
    assert max((left[name] - right[name]).abs().max().item() for name in left) < 1e-5
    assert not torch.equal(
        right["head.classifier.weight"], start["head.classifier.weight"]
    )
    spawn_training(
        TWO | {"freeze": "stem", "layer_decay": 0.5}, tmp_path / "stem", "resnet1d", 0.2
    )
    found = model_of(tmp_path / "stem")
    assert {
        name.split(".")[0]
        for name in start
        if not torch.equal(found[name], start[name])
    } == {"stages", "head"}


def test_one_device_is_this_process(tmp_path: Path) -> None:
    launch(note_rank, TrainConfig(), str(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == [f"{os.getpid()}-None"]


def test_a_process_of_a_group_starts_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": "2", "LOCAL_RANK": "1", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    launch(note_rank, TrainConfig(devices=2), str(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == [f"{os.getpid()}-1"]


def test_a_function_of_a_notebook_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def cell() -> None: ...

    cell.__module__, cell.__qualname__ = "__main__", "cell"
    monkeypatch.setattr(sys.modules["__main__"], "cell", cell, raising=False)
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    with pytest.raises(ConfigError, match="was defined in a notebook"):
        launch(cell, TrainConfig(devices=2))


def test_settings_survive_the_way_to_another_process() -> None:
    assert TrainConfig(**asdict(TrainConfig(**TWO))) == TrainConfig(**TWO)
