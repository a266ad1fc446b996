"""One process a device: start them here, or find oneself started by ``torchrun``."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from ecgnb.errors import ConfigError, EcgnbError
from ecgnb.training.config import TrainConfig
from ecgnb.training.devices import in_process_group


def launch(function: Callable[..., Any], config: TrainConfig, *args: Any) -> None:
    """Call ``function(*args)`` in as many processes as ``config.devices`` says.

    One device, or a process that ``torchrun`` (or a cluster that sets the same variables) started: the function is
    called right here. Otherwise fresh interpreters are started, which works in notebooks and on Windows as well, and
    the call returns when all have ended. What the function returns is dropped: state is files.

    Args:
        function: lies in an importable module, not in a notebook's cell; its arguments can be pickled.
        config: ``devices`` is used.
        args: handed to the function, before which each process finds its rank in the environment.

    Raises:
        ConfigError: several processes for a function that they could not import.
        EcgnbError: a process failed; the message is that process's.

    >>> launch(train_stage, config, run_folder)  # doctest: +SKIP
    """
    if config.devices == 1 or in_process_group():
        function(*args)
        return
    if function.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
        raise ConfigError(
            f"{function.__qualname__} was defined in a notebook, where other processes cannot import it from. "
            "Put it into a module, or set devices=1."
        )
    from torch.multiprocessing import ProcessExitedException, ProcessRaisedException, spawn

    try:
        spawn(_work, args=(config.devices, free_port(), function, args), nprocs=config.devices)
    except (ProcessRaisedException, ProcessExitedException) as error:
        told = str(error).strip()
        raise EcgnbError(
            f"One of {config.devices} training processes failed: {told.splitlines()[-1]}\n\n{told}"
        ) from error


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _work(rank: int, world_size: int, port: int, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Be process ``rank``: the variables are those that torchrun sets."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        NODE_RANK="0",
        WORLD_SIZE=str(world_size),
        LOCAL_WORLD_SIZE=str(world_size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    if os.name == "nt":  # the wheels for Windows come without libuv
        os.environ.setdefault("USE_LIBUV", "0")
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world_size))
    try:
        function(*args)
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
