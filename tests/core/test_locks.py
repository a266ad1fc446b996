"""One process at a time has a lock, and a killed one has it no longer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ecgnb.core import locks
from ecgnb.core.errors import FileError
from ecgnb.core.files import read_json

HOLD = """
import sys
from pathlib import Path
from ecgnb.core.locks import exclusive
with exclusive(Path(sys.argv[1]), "The run"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def hold(file: Path) -> subprocess.Popen:
    """Start a process that has the lock until a line is written to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_second_process_says_who_has_the_lock_and_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    file = tmp_path / "run.lock"
    monkeypatch.setattr(locks, "POLL_S", 0.01)
    lines = []
    with hold(file) as holder:
        owner = read_json(tmp_path / "run.lock.json")
        assert owner["process"] == holder.pid

        def let_go(line: str) -> None:
            lines.append(line)
            if is_killed:
                holder.send_signal(signal.SIGTERM)
            else:
                holder.communicate("\n")

        monkeypatch.setattr(locks, "say", let_go)
        with locks.exclusive(file, "The run"):
            assert len(lines) == 1
        assert holder.wait() == (-signal.SIGTERM if is_killed else 0)
    assert lines[0].startswith(
        f"The run is in use by process {holder.pid} on {owner['host']} since 20"
    )


def test_a_thread_has_its_lock_twice_and_another_thread_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.lock"
    monkeypatch.setattr(locks, "POLL_S", 0.01)
    monkeypatch.setattr(locks, "say", lambda line: waiting.set())
    waiting, order = threading.Event(), []

    def second() -> None:
        with locks.exclusive(file, "The run"):
            order.append("second")

    with locks.exclusive(file, "The run"), locks.exclusive(file, "The run"):
        thread = threading.Thread(target=second)
        thread.start()
        waiting.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_disk_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError

    lines = []
    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    monkeypatch.setattr(locks, "say", lines.append)
    with locks.exclusive(tmp_path / "run.lock", "The run"):
        assert lines == [
            "The run: this disk has no locks. Start nothing else there meanwhile."
        ]


def test_a_disk_without_locks_is_said_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(locks, "say", lines.append)
    monkeypatch.setattr(locks, "_acquire", failing_with(errno.ENOLCK))
    with locks.exclusive(tmp_path / "run.lock", "The run"):
        (tmp_path / "result").touch()
    assert lines == [
        "The run: this disk has no locks. Start nothing else there meanwhile."
    ]


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.EACCES, "change its permissions"), (errno.ENOSPC, "Make room")],
)
def test_a_lock_that_cannot_be_written_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    monkeypatch.setattr(locks, "_acquire", failing_with(number))
    with (
        pytest.raises(FileError, match=rf"run\.lock cannot be written.*{advice}"),
        locks.exclusive(tmp_path / "run.lock", "The run"),
    ):
        raise AssertionError("nobody has the lock")


def failing_with(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail
