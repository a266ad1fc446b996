from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.multiprocessing import ProcessExitedException
from training_fakes import FakeObjective, fit_fake

from ecgnb.core.errors import EcgnbError
from ecgnb.objectives import Loss
from ecgnb.training import launch as launching
from ecgnb.training.checkpoint import read_checkpoint
from ecgnb.training.config import TrainConfig
from ecgnb.training.memory import is_out_of_memory, smaller_batches

CONFIG = TrainConfig(
    epochs=3, batch_size_cpu=8, lr=1e-2, device="cpu", checkpoint_every_steps=2
)
HUGE = 1 << 61  # bytes, which no machine has


def allocate_on_the_cpu() -> None:
    torch.empty(HUGE, dtype=torch.uint8)


def allocate_in_numpy() -> None:
    np.empty(HUGE, dtype=np.uint8)


def fail_as_cuda() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def fail_as_cublas() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling create")


class RunsOut(FakeObjective):
    """Ask for too much memory at one call of the loss."""

    def __init__(self, allocate: Any, at_call: int) -> None:
        super().__init__()
        self.allocate, self.at_call, self.calls = allocate, at_call, 0

    def loss(self, model: Any, views: Any) -> Loss:
        self.calls += 1
        if self.calls == self.at_call:
            self.allocate()
        return super().loss(model, views)


@pytest.mark.parametrize(
    "allocate",
    [allocate_on_the_cpu, allocate_in_numpy, fail_as_cuda, fail_as_cublas],
)
@pytest.mark.parametrize("at_call", [4, 7])  # in training, in validation
def test_the_message_names_what_to_lower_and_the_training_goes_on_to_the_same_bits(
    tmp_path: Path, allocate: Any, at_call: int
) -> None:
    with pytest.raises(EcgnbError) as raised:
        fit_fake(CONFIG, tmp_path / "out", objective=RunsOut(allocate, at_call))
    message = str(raised.value)
    assert (
        "Set BATCH_SIZE_CPU to 4 (now 8) and GRAD_ACCUM_STEPS to 2 (now 1)" in message
    )
    assert "batches of 8 records, in epoch 1" in message
    last = tmp_path / "out" / "checkpoints" / "last.ckpt"
    assert str(last) in message
    assert read_checkpoint(last)["state"]["step"] in (2, 4)
    assert raised.value.__cause__ is None and raised.value.__context__ is None

    resumed = fit_fake(CONFIG, tmp_path / "out")
    whole = fit_fake(CONFIG, tmp_path / "whole")
    weights = [
        read_checkpoint(result.last_path)["model"] for result in (resumed, whole)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        fit_fake(CONFIG, tmp_path, objective=RunsOut(fail, 2))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_batches_of_one_record_cannot_be_halved(tmp_path: Path) -> None:
    assert "smaller model" in smaller_batches("BATCH_SIZE_GPU", 1, 4)
    config = replace(CONFIG, batch_size_cpu=1)
    with pytest.raises(EcgnbError, match="BATCH_SIZE_CPU is 1 already"):
        fit_fake(config, tmp_path, objective=RunsOut(fail_as_cuda, 2))


def test_a_process_that_the_system_killed_is_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise ProcessExitedException(
            "process 1 terminated with signal SIGKILL", 1, 77, -9, "SIGKILL"
        )

    monkeypatch.setattr(launching, "spawn", killed)
    with pytest.raises(EcgnbError, match=r"SIGKILL.*lower BATCH_SIZE_CPU.*GRAD_ACCUM"):
        launching.launch(print, TrainConfig(devices=2))
