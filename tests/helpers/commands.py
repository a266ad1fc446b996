"""Processes that start fast and can be killed: where the system can fork, they come from
one process that has imported PyTorch and ecgnb already.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from torch.multiprocessing import start_processes

#: Imported once, by the process that the others are forked from.
PRELOADED = [
    "ecgnb.cli.main",
    "ecgnb.cli.runs",
    "ecgnb.data.demo.cohort_files",
    "ecgnb.data.store.preparation",
    "ecgnb.explain",
    "ecgnb.figures",
    "ecgnb.foundation",
    "ecgnb.models",
    "ecgnb.objectives",
    "ecgnb.port",
    "ecgnb.stages.train",
    "ecgnb.training.launch",
    "ecgnb.training.loop",
    "ecgnb.transforms",
    "ipykernel.kernelapp",
    "torch._dynamo",  # lightning imports it with the first Fabric, which takes seconds
]
#: Fresh interpreters on Windows.
START_METHOD = "spawn" if os.name == "nt" else "forkserver"


def fast_processes() -> BaseContext:
    """Return the context whose processes start fast."""
    context = multiprocessing.get_context(START_METHOD)
    context.set_forkserver_preload(PRELOADED)
    return context


def launch_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `ecgnb.training.launch.launch` start processes that import nothing anew."""
    fast_processes()
    start = partial(start_processes, start_method=START_METHOD)
    monkeypatch.setattr("ecgnb.training.launch.spawn", start)


def run_in_new_process(function: Callable[..., None], *arguments: object) -> None:
    """Call a function of a test module, on one thread, in a process that knows nothing
    of this one; it must succeed.
    """
    process = fast_processes().Process(target=_one_thread, args=(function, arguments))
    process.start()
    process.join()
    assert process.exitcode == 0


def _one_thread(function: Callable[..., None], arguments: tuple) -> None:
    import torch

    torch.set_num_threads(1)
    function(*arguments)


class ForkedKernel:
    """A notebook's kernel that starts fast; for jupyter_client it is a `Popen`.

    Args:
        arguments: command line of the kernel, such as
            ``python -m ipykernel_launcher -f connection.json``.
        env: environment variables of the kernel.
        cwd: its working folder, if it is another one.
    """

    stdin = stdout = stderr = None

    def __init__(
        self,
        arguments: list[str],
        *,
        env: dict[str, str],
        cwd: str | None = None,
        **_: object,
    ) -> None:
        options = arguments[arguments.index("ipykernel_launcher") + 1 :]
        context = fast_processes()
        started = context.Event()
        self.process = context.Process(
            target=_serve_kernel, args=(options, env, cwd, started)
        )
        self.process.start()
        started.wait()
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.process.kill()

    def terminate(self) -> None:
        self.process.terminate()


def fork_kernels(patch: pytest.MonkeyPatch) -> None:
    """Let jupyter_client start kernels that import nothing anew."""
    launcher = "jupyter_client.provisioning.local_provisioner.launch_kernel"
    patch.setattr(launcher, ForkedKernel)


def _serve_kernel(
    options: list[str], variables: dict[str, str], folder: str | None, started: Event
) -> None:
    import pandas as pd
    import torch
    from ipykernel.kernelapp import launch_new_instance

    if hasattr(os, "setsid"):
        os.setsid()  # the end of a kernel is a signal to its whole group
    started.set()
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder or ".")
    # as pandas sets it when a kernel imports it
    pd.set_option("display.max_columns", 20)
    torch.set_num_threads(1)
    launch_new_instance(options)


class Command:
    """``ecgnb`` with arguments, running in a process of its own.

    Args:
        arguments: of the command line.
        environment: additional variables of the environment.
        output: file that receives what is printed.
    """

    def __init__(
        self, arguments: list[str], environment: dict[str, str], output: Path
    ) -> None:
        self.output = output
        variables = {**os.environ, **environment}
        self.process = fast_processes().Process(
            target=_run, args=(arguments, variables, str(output))
        )
        self.process.start()

    def running(self) -> bool:
        return self.process.exitcode is None

    def wait(self, seconds: float) -> bool:
        """Wait for the end; return whether it came within that time."""
        self.process.join(seconds)
        return not self.running()

    def kill(self) -> None:
        """Kill the process, which cannot clean up anything."""
        self.process.kill()
        self.process.join()

    def finish(self) -> str:
        """Wait for the end of a command that succeeds and return what it printed."""
        assert self.wait(300), "the command has not ended after 300 s"
        printed = self.output.read_text(encoding="utf-8")
        assert self.process.exitcode == 0, printed
        return printed


def _run(arguments: list[str], variables: dict[str, str], output: str) -> None:
    import torch

    from ecgnb.cli.main import main

    os.environ.update(variables)
    torch.set_num_threads(1)
    with open(output, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", buffering=1)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1)
    sys.exit(main(arguments))
