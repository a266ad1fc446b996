"""One process a device: start them here, or find oneself started by ``torchrun``."""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.files import read_json, write_json
from ecgnb.training.config import TrainConfig
from ecgnb.training.devices import in_process_group, make_fabric

#: Seconds between two looks whether the first process is done.
POLL_SECONDS = 0.2


def launch(function: Callable[..., Any], config: TrainConfig, *args: Any) -> None:
    """Call ``function(*args)`` in as many processes as ``config.devices`` says.

    One device, or a process that ``torchrun`` (or a cluster that sets the same
    variables) started: the function is called right here. Otherwise fresh interpreters
    are started, which works in notebooks and on Windows as well, and the call returns
    when all have ended. What the function returns is dropped: state is files.

    Args:
        function: lies in an importable module, not in a notebook's cell; its arguments
            can be pickled.
        config: ``devices`` is used.
        args: handed to the function, before which each process finds its rank in the
            environment.

    Raises:
        ConfigError: several processes for a function that they could not import.
        EcgnbError: a process failed; the message is that process's.

    >>> launch(train_stage, config, run_folder)  # doctest: +SKIP
    """
    if config.devices == 1 or in_process_group():
        function(*args)
        return
    if function.__module__ == "__main__" and not hasattr(
        sys.modules["__main__"], "__file__"
    ):
        raise ConfigError(
            f"{function.__qualname__} was defined in a notebook, where other processes cannot import it from. "
            "Put it into a module, or set devices=1."
        )
    from torch.multiprocessing import (
        ProcessExitedException,
        ProcessRaisedException,
        spawn,
    )

    try:
        spawn(
            _work,
            args=(config.devices, free_port(), function, args),
            nprocs=config.devices,
        )
    except (ProcessRaisedException, ProcessExitedException) as error:
        told = str(error).strip()
        raise EcgnbError(
            f"One of {config.devices} training processes failed: {told.splitlines()[-1]}\n\n{told}"
        ) from error


def on_rank_zero(
    function: Callable[[], Any], config: TrainConfig, folder: Path
) -> None:
    """Call ``function()`` in rank 0 only, while the other processes of the group wait
    until it is done.

    They wait for a file, not in a barrier: that would give up after some minutes, and
    preparing recordings may take hours. Outside of a group the function is simply
    called.

    Args:
        function: what one process does for all.
        config: as for `make_fabric`, which sets the group up.
        folder: one that all processes see.

    Raises:
        EcgnbError: in the other processes, when rank 0 failed.
    """
    if not in_process_group():
        function()
        return
    fabric = make_fabric(config)
    mark = folder / fabric.broadcast(
        f".tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}-ready.json"
    )
    if not fabric.is_global_zero:
        _wait_for(mark)
    else:
        try:
            function()
        except BaseException as error:
            write_json(mark, {"problem": str(error) or type(error).__name__})
            raise
        write_json(mark, {"problem": ""})
    fabric.barrier()
    if fabric.is_global_zero:
        mark.unlink(missing_ok=True)


def _wait_for(mark: Path) -> None:
    while not mark.is_file():
        time.sleep(POLL_SECONDS)
    if problem := read_json(mark)["problem"]:
        raise EcgnbError(f"The first process failed: {problem}")


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _work(
    rank: int,
    world_size: int,
    port: int,
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
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
