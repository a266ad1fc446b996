"""Devices: accelerator, precision, processes and determinism of a training."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from ecgnb.core.errors import ConfigError
from ecgnb.core.interrupts import interrupts_deferred
from ecgnb.training.config import TrainConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def choose_accelerator(device: str = "auto") -> str:
    """Return ``device``, or for ``"auto"`` the GPU of this machine (``"cuda"``,
    ``"mps"``), or ``"cpu"`` without one.

    Raises:
        ConfigError: this machine does not have that device.
    """
    is_available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return next(name for name, available in is_available.items() if available)
    if not is_available[device]:
        raise ConfigError(
            f"device={device!r} was asked for, but PyTorch finds none on this machine. "
            "Set device='auto'."
        )
    return device


def choose_precision(mixed_precision: str, accelerator: str) -> str:
    """Return Fabric's name of a precision on this machine.

    ``"auto"`` is bfloat16 on a GPU that computes with it, float16 on an older one,
    float32 elsewhere: on a CPU a small network gains little and the numbers lose
    digits. bfloat16 on a CPU without instructions for it would be emulated, several
    times slower, and becomes float32 with a warning.

    Raises:
        ConfigError: float16 without a CUDA GPU.
    """
    if mixed_precision == "no":
        return "32-true"
    if accelerator == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        if mixed_precision == "bf16" or (mixed_precision == "auto" and has_bf16):
            return "bf16-mixed"
        return "16-mixed"
    if mixed_precision == "fp16":
        raise ConfigError(
            "mixed_precision='fp16' needs a CUDA GPU, but this runs on "
            f"{accelerator!r}. Use 'auto'."
        )
    if mixed_precision == "bf16" and accelerator == "cpu":
        if cpu_has_bf16():
            return "bf16-mixed"
        warnings.warn(
            "This CPU has no bfloat16 instructions; training in float32 instead.",
            stacklevel=2,
        )
    return "32-true"


def cpu_has_bf16() -> bool:
    """Return whether this CPU multiplies bfloat16 numbers in hardware (AVX512-BF16 or
    AMX).
    """
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def make_fabric(config: TrainConfig, *, find_unused_parameters: bool = False) -> Fabric:
    """Return a launched `lightning_fabric.Fabric` for this process.

    Several devices need one process each, which `ecgnb.training.launch.launch` or
    ``torchrun`` starts; then the loaders take ``fabric.device``, ``fabric.global_rank``
    and ``fabric.world_size``.

    Args:
        config: ``device``, ``devices`` and ``mixed_precision`` are used.
        find_unused_parameters: of several processes, for an objective whose loss does
            not depend on all parameters.

    Raises:
        ConfigError: several devices without their processes, or more than the machine
            has.
    """
    # They take seconds to import. Optimizers import the first one when they are used;
    # here it is loaded whole, also when somebody interrupts the training meanwhile.
    with interrupts_deferred():
        importlib.import_module("torch._dynamo")
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy

    accelerator = choose_accelerator(config.device)
    settings: dict[str, Any] = {"accelerator": accelerator, "devices": 1}
    settings["precision"] = choose_precision(config.mixed_precision, accelerator)
    if in_process_group():
        world_size = int(os.environ["WORLD_SIZE"])
        local = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
        settings["devices"] = local
        settings["num_nodes"] = world_size // local
        settings["strategy"] = DDPStrategy(
            find_unused_parameters=find_unused_parameters
        )
    elif config.devices > 1:
        raise ConfigError(
            f"devices={config.devices} needs as many processes. Start the training "
            "through ecgnb.training.launch, with `ecgnb train` or with torchrun; or "
            "set devices=1."
        )
    if accelerator == "cuda" and settings["devices"] > torch.cuda.device_count():
        raise ConfigError(
            f"{settings['devices']} GPUs were asked for, but this machine has "
            f"{torch.cuda.device_count()}. Lower `devices`."
        )
    with warnings.catch_warnings():  # hardware that is left unused on purpose
        warnings.filterwarnings("ignore", message=".*available but not used.*")
        fabric = Fabric(**settings)
    fabric.launch()
    return fabric


def in_process_group() -> bool:
    """Return whether this process is one of several that were started together."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ


def is_first_process() -> bool:
    """Return whether this process is rank 0 of its group, or has no group."""
    return not in_process_group() or os.environ["RANK"] == "0"


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the generators of dropout: the CPU's and that of ``device``.

    ``torch.manual_seed`` seeds every kind of device, at several times the cost.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Within the block, PyTorch uses operations that give the same bits each time.

    Operations without such a variant give a warning and may differ in the last bits
    from one run to the next on a GPU; on a CPU all operations of our models are exact.
    CUDA GPUs need the environment variable ``CUBLAS_WORKSPACE_CONFIG=:4096:8`` as well,
    which is set here unless the process has set it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    was_warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    filled_memory = settings.fill_uninitialized_memory
    benchmarked = torch.backends.cudnn.benchmark
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        settings.fill_uninitialized_memory = False  # slow, only for finding bugs
        torch.backends.cudnn.benchmark = False  # it may choose another kernel next time
        yield
    finally:
        torch.use_deterministic_algorithms(was_deterministic, warn_only=was_warn_only)
        settings.fill_uninitialized_memory = filled_memory
        torch.backends.cudnn.benchmark = benchmarked
