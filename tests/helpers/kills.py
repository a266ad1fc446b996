"""Kills: how many in the slow tests of interrupted work, and one at each change of the
disk within this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecgnb.core import files

#: Kills of processes, ``ECGNB_TEST_KILLS`` or 6. Each restarts a process, which costs
#: seconds; more of them add moments, not checks.
KILLS = int(os.environ.get("ECGNB_TEST_KILLS", "6"))


class Killed(BaseException):
    """The process has ended; nothing is cleaned up after it."""


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """End the block at its ``step``-th change of the disk (from 1), a file that gets
    its name or is deleted, as if the process were killed: temporary files stay.
    """
    steps = 0
    replace, unlink = files._replace, Path.unlink

    def count() -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            raise Killed
        if steps > step:  # the dead delete nothing
            raise OSError

    def named(source: Path, target: Path) -> None:
        count()
        replace(source, target)

    def deleted(path: Path, missing_ok: bool = False) -> None:
        if path.exists():
            count()
        unlink(path, missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_replace", named)
        patch.setattr(Path, "unlink", deleted)
        yield


def kill_everywhere(work: Callable[[], object], check: Callable[[], object]) -> int:
    """Kill ``work`` at each of its changes of the disk; after each kill, ``check``.

    Returns:
        The number of kills.
    """
    for step in range(1, 100):
        try:
            with killed_at(step):
                work()
        except Killed:
            check()
        else:
            return step - 1
    raise AssertionError("more than a hundred changes of the disk")
