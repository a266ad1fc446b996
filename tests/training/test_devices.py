from __future__ import annotations

import pytest
import torch

from ecgnb.core.errors import ConfigError
from ecgnb.training import devices
from ecgnb.training.config import TrainConfig
from ecgnb.training.devices import (
    choose_accelerator,
    choose_precision,
    deterministic,
    in_process_group,
    make_fabric,
)


def test_precision_on_each_kind_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: True
    )
    assert choose_precision("auto", "cuda") == "bf16-mixed"
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: False
    )
    assert choose_precision("auto", "cuda") == "16-mixed"
    assert choose_precision("fp16", "cuda") == "16-mixed"
    assert choose_precision("bf16", "cuda") == "bf16-mixed"
    assert {choose_precision("no", name) for name in ("cpu", "cuda", "mps")} == {
        "32-true"
    }
    assert (
        choose_precision("auto", "cpu") == choose_precision("auto", "mps") == "32-true"
    )
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        choose_precision("fp16", "cpu")


def test_bfloat16_on_a_cpu_only_where_it_is_in_hardware(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)
    assert choose_precision("bf16", "cpu") == "bf16-mixed"
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: False)
    with pytest.warns(UserWarning, match="no bfloat16 instructions"):
        assert choose_precision("bf16", "cpu") == "32-true"


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_accelerator("auto") == "cpu"
    with pytest.raises(ConfigError, match="device='cuda' was asked for"):
        choose_accelerator("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_accelerator("auto") == "cuda"


def test_several_devices_need_their_processes() -> None:
    assert not in_process_group()
    with pytest.raises(ConfigError, match="devices=2 needs as many processes"):
        make_fabric(TrainConfig(device="cpu", devices=2))
    fabric = make_fabric(TrainConfig(device="cpu"))
    assert (fabric.device.type, fabric.global_rank, fabric.world_size) == ("cpu", 0, 1)


def test_determinism_ends_with_the_block() -> None:
    before = torch.utils.deterministic.fill_uninitialized_memory
    with pytest.raises(ZeroDivisionError), deterministic():
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        raise ZeroDivisionError
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory == before
