"""Locks: one process at a time works in a folder, also on several machines."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from ecgnb.core.errors import FileError
from ecgnb.core.files import file_error, make_folder, read_dict, write_json
from ecgnb.core.progress import say

#: Seconds between two attempts to get a lock that another process holds.
POLL_S = 0.5

#: Errors of disks without locks, such as network drives whose server keeps none.
NO_LOCKS = {
    getattr(errno, name, errno.ENOSYS)
    for name in ("ENOSYS", "ENOLCK", "ENOTSUP", "EOPNOTSUPP")
}

#: Threads of this process by the lock that they hold.
_holders: dict[Path, int] = {}


@contextlib.contextmanager
def exclusive(file: Path, what: str) -> Iterator[None]:
    """Hold a lock; while another process holds it, print which one and wait.

    The system holds the lock for an open file (``flock``, on Windows
    ``msvcrt.locking``), so it ends with its process, however that ends, and no leftover
    has to be judged by its age. On a network drive it works between machines where the
    server keeps such locks. Where a disk has none, a line is printed instead. A thread
    may take a lock that it holds once more.

    Args:
        file: lock file, which stays; ``<file>.json`` names the holder meanwhile.
        what: what is locked, for the message.

    Raises:
        FileError: the lock file cannot be written.
    """
    this_thread = threading.get_ident()
    if _holders.get(file) == this_thread:
        yield
        return
    make_folder(file.parent)
    owner = file.with_name(f"{file.name}.json")
    lock = FileLock(file)
    try:
        _acquire(lock, owner, what)
    except NotImplementedError:
        _say_unlocked(what)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise file_error(file, error) from error
        _say_unlocked(what)
    _holders[file] = this_thread
    try:
        with contextlib.suppress(FileError):  # the note helps people only
            write_json(owner, describe_process())
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink(missing_ok=True)
        del _holders[file]
        lock.release()


def describe_process() -> dict[str, str | int]:
    """Return this process, its host and the time (UTC), for those who wait for it."""
    now = datetime.now(timezone.utc)
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": f"{now:%Y-%m-%d %H:%M:%S} UTC",
    }


def _say_unlocked(what: str) -> None:
    say(f"{what}: this disk has no locks. Start nothing else there meanwhile.")


def _acquire(lock: FileLock, owner: Path, what: str) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = {"process": "unknown", "host": "unknown", "since": "a moment ago"}
        holder.update(read_dict(owner))
        say(
            f"{what} is in use by process {holder['process']} on {holder['host']} "
            f"since {holder['since']}; waiting until it is done (stop this one to give "
            "up)."
        )
        lock.acquire(poll_interval=POLL_S)
