"""Launch one process per device, in this session or under ``torchrun``."""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing import (
    ProcessExitedException,
    ProcessRaisedException,
    spawn,
)

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.files import read_json, write_json
from ecgnb.training.config import TrainConfig
from ecgnb.training.devices import in_process_group, make_fabric

#: Seconds between two checks whether the first process is done.
POLL_SECONDS = 0.2


def launch(function: Callable[..., Any], config: TrainConfig, *args: Any) -> None:
    """Call ``function(*args)`` in ``config.devices`` processes.

    With one device, or in a process that ``torchrun`` (or a cluster that sets the same
    variables) started, the function is called in this process. Otherwise fresh
    interpreters are started, which works in notebooks and on Windows as well, and the
    call returns when all have ended. Return values are dropped: state is files.

    Args:
        function: of an importable module, not of a notebook's cell.
        config: ``devices`` is used.
        args: arguments that can be pickled. Each process finds its rank in the
            environment.

    Raises:
        ConfigError: function or arguments cannot be sent to other processes.
        EcgnbError: a process failed; the message is that process's.

    >>> launch(train_stage, config, run_folder)  # doctest: +SKIP
    """
    if config.devices == 1 or in_process_group():
        function(*args)
        return
    _check_sendable(function, args)
    try:
        spawn(
            _work,
            args=(config.devices, free_port(), function, args),
            nprocs=config.devices,
        )
    except (ProcessRaisedException, ProcessExitedException) as error:
        message = str(error).strip()
        summary = message.splitlines()[-1]
        if getattr(error, "signal_name", None) == "SIGKILL":
            # What Linux does to a process when the machine's memory is full.
            summary += (
                ". Mostly that is a lack of memory: lower BATCH_SIZE_CPU or "
                "BATCH_SIZE_GPU, raise GRAD_ACCUM_STEPS by the same factor, or use "
                "fewer DEVICES. The last checkpoint is kept."
            )
        raise EcgnbError(
            f"One of {config.devices} training processes failed: {summary}\n\n{message}"
        ) from error


def _check_sendable(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    for item in (function, *args):
        try:
            content = bytes(ForkingPickler.dumps(item))
        except Exception as error:  # whatever a class raises that forbids it
            raise ConfigError(
                f"{item!r} cannot be sent to other processes ({error}). Pass something "
                "that can be pickled, or set devices=1."
            ) from error
        # A pickle contains the module names of its classes and functions.
        in_notebook = not hasattr(sys.modules["__main__"], "__file__")
        if in_notebook and b"__main__" in content:
            raise ConfigError(
                f"{item!r} was defined in a notebook, from where other processes "
                "cannot import it. Put it into a module, or set devices=1."
            )


def on_rank_zero(
    function: Callable[[], Any], config: TrainConfig, folder: Path
) -> None:
    """Call ``function()`` in rank 0 only, while the other processes of the group wait
    until it is done.

    They wait for a file, not in a barrier: that would give up after some minutes, and
    preparing recordings may take hours. Without a group the function is simply called.

    Args:
        function: work that one process does for all.
        config: as for `make_fabric`, which sets the group up.
        folder: one that all processes see.

    Raises:
        EcgnbError: in the other processes, when rank 0 failed.
    """
    if not in_process_group():
        function()
        return
    fabric = make_fabric(config)
    name = f".tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}-ready.json"
    mark = folder / fabric.broadcast(name)
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
    """Return a free TCP port of this machine."""
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
    """Run process ``rank``, with the environment variables of torchrun."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        NODE_RANK="0",
        WORLD_SIZE=str(world_size),
        LOCAL_WORLD_SIZE=str(world_size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    if os.name == "nt":  # PyTorch for Windows is built without libuv
        os.environ.setdefault("USE_LIBUV", "0")
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world_size))
    try:
        function(*args)
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
