"""Where a training runs: device, precision, processes and determinism, behind one
Fabric object.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from ecgnb.core.errors import ConfigError
from ecgnb.training.config import TrainConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def choose_accelerator(wanted: str = "auto") -> str:
    """Return ``wanted``, or for ``"auto"`` the GPU of this machine (``"cuda"``,
    ``"mps"``) and ``"cpu"`` without one.

    Raises:
        ConfigError: a GPU is wanted and there is none.
    """
    found = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if found[name])
    if not found[wanted]:
        raise ConfigError(
            f"device={wanted!r} was asked for, but PyTorch finds none here. Set device='auto'."
        )
    return wanted


def choose_precision(wanted: str, accelerator: str) -> str:
    """Return Fabric's name of the precision that ``mixed_precision=wanted`` means on
    this machine.

    ``"auto"`` is bfloat16 on a GPU that computes with it, float16 on an older one,
    float32 elsewhere: on a CPU a small network gains little and the numbers lose
    digits. bfloat16 asked for on a CPU without instructions for it would be emulated,
    several times slower, and becomes float32 with a warning.

    Raises:
        ConfigError: float16 without a CUDA GPU.
    """
    if wanted == "no":
        return "32-true"
    if accelerator == "cuda":
        if wanted == "auto":
            wanted = (
                "bf16"
                if torch.cuda.is_bf16_supported(including_emulation=False)
                else "fp16"
            )
        return "bf16-mixed" if wanted == "bf16" else "16-mixed"
    if wanted == "fp16":
        raise ConfigError(
            f"mixed_precision='fp16' needs a CUDA GPU, but this runs on {accelerator!r}. Take 'auto'."
        )
    if wanted == "bf16" and accelerator == "cpu":
        if cpu_has_bf16():
            return "bf16-mixed"
        warnings.warn(
            "This CPU has no bfloat16 instructions; training in float32 instead.",
            stacklevel=2,
        )
    return "32-true"


def cpu_has_bf16() -> bool:
    """Tell whether this CPU multiplies bfloat16 numbers in hardware (AVX512-BF16 or
    AMX).
    """
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def make_fabric(config: TrainConfig) -> Fabric:
    """Return a launched `lightning_fabric.Fabric` for this process.

    One device needs nothing else. Several need one process each, which
    `ecgnb.training.launch.launch` or ``torchrun`` starts; then the loaders take
    ``fabric.device``, ``fabric.global_rank`` and ``fabric.world_size``.

    Raises:
        ConfigError: several devices without their processes, or more than the machine
            has.
    """
    from lightning_fabric import Fabric

    accelerator = choose_accelerator(config.device)
    settings: dict[str, Any] = {"accelerator": accelerator, "devices": 1}
    settings["precision"] = choose_precision(config.mixed_precision, accelerator)
    if in_process_group():
        local = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
        settings.update(
            devices=local,
            num_nodes=int(os.environ["WORLD_SIZE"]) // local,
            strategy="ddp",
        )
    elif config.devices > 1:
        raise ConfigError(
            f"devices={config.devices} needs as many processes. Start the training through ecgnb.training.launch, "
            "with `ecgnb train` or with torchrun; or set devices=1."
        )
    if accelerator == "cuda" and settings["devices"] > torch.cuda.device_count():
        raise ConfigError(
            f"{settings['devices']} GPUs were asked for, but this machine has {torch.cuda.device_count()}. "
            "Lower `devices`."
        )
    with (
        warnings.catch_warnings()
    ):  # remarks about hardware that was left unused on purpose
        warnings.filterwarnings("ignore", message=".*available but not used.*")
        fabric = Fabric(**settings)
    fabric.launch()
    return fabric


def in_process_group() -> bool:
    """Tell whether this process is one of several that were started together."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ


def is_first_process() -> bool:
    """Tell whether this process is rank 0 of its group, or stands alone."""
    return not in_process_group() or os.environ["RANK"] == "0"


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the generators that dropout draws from: the CPU's and that of ``device``.

    ``torch.manual_seed`` does it for every kind of device there might be, at several
    times the cost.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Within the block, let PyTorch choose operations that give the same bits each
    time.

    Operations that have no such variant give a warning and may differ in the last bits
    from one run to the next on a GPU; on a CPU all operations of our models are exact.
    On a CUDA GPU the environment variable ``CUBLAS_WORKSPACE_CONFIG=:4096:8`` is part
    of it, and is set here if the process has not done so.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    filling: Any = torch.utils.deterministic
    fill, benchmark = filling.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        filling.fill_uninitialized_memory = (
            False  # costs time and finds bugs we do not have
        )
        torch.backends.cudnn.benchmark = (
            False  # it may choose another kernel the next time
        )
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        filling.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = benchmark
