"""Callbacks from outside the package: classes of this file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from small_jobs import job
from training_fakes import StopAt, fit_fake

import ecgnb
from ecgnb.core.errors import ConfigError
from ecgnb.training.callbacks import CALLBACKS, Callback, build_callbacks
from ecgnb.training.checkpoint import read_checkpoint
from ecgnb.training.config import TrainConfig
from ecgnb.training.launch import launch

CONFIG = TrainConfig(epochs=2, batch_size_cpu=20, lr=1e-2, device="cpu")
UP_TO_SPLIT = ("load_cohort", "prepare", "split")


@CALLBACKS.register("epoch_files_of_a_test")
class EpochFiles(Callback):
    """Writes a file per epoch and records the loss of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_step_end(self, training: Any) -> None:
        self.losses.append(training.loss)

    def on_epoch_end(self, training: Any, row: dict[str, Any]) -> None:
        path = training.files.folder / f"epoch_{row['epoch']}.txt"
        path.write_text(
            f"{training.run and training.run.name} {row['train_loss']}",
            encoding="utf-8",
        )


def test_callbacks_are_called_in_order(tmp_path: Path) -> None:
    calls: list[str] = []

    class Recorder(Callback):
        def on_train_start(self, training: Any) -> None:
            calls.append("start")

        def on_step_end(self, training: Any) -> None:
            calls.append(f"step {training.state.step} {training.lr:.4f}")

        def on_epoch_end(self, training: Any, row: dict[str, Any]) -> None:
            calls.append(f"epoch {row['epoch']}")

        def on_train_end(self, training: Any) -> None:
            calls.append("end")

    config = replace(CONFIG, scheduler="none")
    fit_fake(config, tmp_path, callbacks=(Recorder(),))
    steps = [f"step {step} 0.0100" for step in (1, 2, 3, 4)]
    assert calls == ["start", *steps[:2], "epoch 1", *steps[2:], "epoch 2", "end"]


def test_the_mean_of_the_steps_is_the_loss_of_the_epoch(tmp_path: Path) -> None:
    callback = EpochFiles()
    result = fit_fake(CONFIG, tmp_path, callbacks=(callback,))
    losses = callback.losses  # 37 records: steps of 20 and 17
    for epoch in range(2):
        first, second = losses[2 * epoch : 2 * epoch + 2]
        expected = result.history["train_loss"][epoch]
        assert (20 * first + 17 * second) / 37 == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method", ["on_step_end", "on_epoch_end", "on_train_end"])
def test_an_exception_in_a_callback_leaves_a_training_that_resumes(
    tmp_path: Path, method: str
) -> None:
    class Fails(Callback):
        pass

    def fail(self: Any, training: Any, *arguments: Any) -> None:
        if training.state.step >= 3:
            raise ZeroDivisionError

    setattr(Fails, method, fail)
    fit_fake(CONFIG, tmp_path / "whole", norm="batch")
    with pytest.raises(ZeroDivisionError):
        fit_fake(CONFIG, tmp_path / "failed", norm="batch", callbacks=(Fails(),))
    fit_fake(CONFIG, tmp_path / "failed", norm="batch")
    for name in ("last.ckpt", "best.ckpt"):
        left, right = (
            read_checkpoint(tmp_path / run / "checkpoints" / name)["model"]
            for run in ("whole", "failed")
        )
        assert all(torch.equal(left[key], right[key]) for key in left)


def test_ecgnb_train_takes_instances_names_and_the_parameter(
    forty: Path, project: Path
) -> None:
    run = job(UP_TO_SPLIT, DATASET_DIR=str(forty), CALLBACKS=["epoch_files_of_a_test"])
    callback = EpochFiles()
    history = ecgnb.train(run, callbacks=[callback, "step_log"])
    text = run.path("epoch_1.txt").read_text(encoding="utf-8")
    assert text == f"{run.name} {history['train_loss'][0]}"
    steps = pd.read_csv(run.path("steps.csv"))
    assert steps["loss"].tolist() == callback.losses
    assert len(callback.losses) == -(-len(run.splits.train) // 16)
    plain = ecgnb.open_run({**run.config.parameters(), "CALLBACKS": ()})
    assert plain.name == run.name, "callbacks do not change what is trained"


def test_what_is_no_callback_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'step_log'"):
        build_callbacks(["step_lag"])
    with pytest.raises(ConfigError, match=r"<class .*EpochFiles'> is no callback"):
        build_callbacks([EpochFiles])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="0 is no callback"):
        build_callbacks([0])  # type: ignore[list-item]


def test_instances_that_cannot_be_sent_to_other_processes_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`test_two_processes_are_one` of the objectives sends one."""
    config, callback = TrainConfig(devices=2), EpochFiles()
    callback.file = sys.stdout  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="cannot be sent to other processes"):
        launch(build_callbacks, config, [callback])
    monkeypatch.setattr(EpochFiles, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "EpochFiles", EpochFiles, False)
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    with pytest.raises(ConfigError, match="was defined in a notebook"):
        launch(build_callbacks, config, [EpochFiles()])


def test_lines_of_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    with pytest.raises(KeyboardInterrupt):
        fit_fake(CONFIG, tmp_path, callbacks=(StopAt(3),))
    fit_fake(CONFIG, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    epochs = [line.split(":")[0] for line in lines if line.startswith("epoch")]
    assert epochs == ["epoch 1/2", "epoch 2/2"]
    assert lines[1] == "Going on at epoch 2, batch 0, step 2."
    assert "train loss" in lines[0] and "records/s" in lines[0]
    assert lines[-1].startswith("Best epoch")
