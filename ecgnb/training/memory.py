"""Out of memory: recognise it on any device, and raise an error with what to lower."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from ecgnb.core.errors import EcgnbError

if TYPE_CHECKING:
    from ecgnb.training.state import Training

T = TypeVar("T")

#: Parts of the messages of errors that are a lack of memory under another type: the
#: allocators of PyTorch on CPU and MPS, of CUDA, cuBLAS and cuDNN.
_MESSAGES = (
    "defaultcpuallocator",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is a lack of memory, of the machine or of a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in _MESSAGES)


def call_within_memory(function: Callable[[], T], describe: Callable[[], str]) -> T:
    """Call ``function()`` and raise an `EcgnbError` for a lack of memory.

    It is a function, not a context manager: what that raises refers to the first error,
    whose traceback would keep the tensors of the failed step alive in a notebook.

    Args:
        function: what may need too much.
        describe: returns the message; called after the memory of the step is free
            again.

    Raises:
        EcgnbError: the memory ran out; its message ends with that of the allocator.
    """
    try:
        return function()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        cause = str(error).strip().partition("\n")[0][:300] or type(error).__name__
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise EcgnbError(f"{describe()} The allocator reported: {cause}")


def model_message(device: torch.device, model: nn.Module) -> str:
    """Describe a lack of memory for the model by itself."""
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"The memory of {device} did not suffice for the model of {n_parameters:,} "
        "parameters alone. Close other programs that use this memory, or choose a "
        "smaller model (MODEL, MODEL_OPTIONS)."
    )


def batch_message(training: Training) -> str:
    """Describe a lack of memory during training: where it was, what to lower, and what
    is kept.
    """
    state, config, device = training.state, training.config, training.fabric.device
    parameter = "BATCH_SIZE_CPU" if device.type == "cpu" else "BATCH_SIZE_GPU"
    size = training.train_loader.batch_size
    advice = smaller_batches(parameter, size, config.grad_accum_steps)
    message = (
        f"The memory of {device} did not suffice for batches of {size} records, in "
        f"epoch {state.epoch + 1} at step {state.step + 1}. {advice}: a step is then "
        "of as many records as before. Or close other programs that use this memory."
    )
    if training.files.last.is_file():
        message += (
            f" The last checkpoint is complete: {training.files.last}. The same call "
            "with the same parameters goes on from it; other batches are another run."
        )
    return message


def smaller_batches(parameter: str, batch_size: int, accumulated: int) -> str:
    """Return what to lower so that a step fits: half the batch, twice the batches of a
    step.

    >>> smaller_batches("BATCH_SIZE_CPU", 32, 1)
    'Set BATCH_SIZE_CPU to 16 (now 32) and GRAD_ACCUM_STEPS to 2 (now 1)'
    """
    if batch_size == 1:
        return (
            f"{parameter} is 1 already: choose a smaller model (MODEL_OPTIONS) or "
            "shorter recordings (TARGET_SAMPLES, TARGET_FS), or free memory"
        )
    return (
        f"Set {parameter} to {batch_size // 2} (now {batch_size}) and "
        f"GRAD_ACCUM_STEPS to {accumulated * 2} (now {accumulated})"
    )
