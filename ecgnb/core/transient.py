"""Errors that pass: a disk, a network drive or the memory that fails for a moment."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ecgnb.core.errors import ReadError, TryAgainError

T = TypeVar("T")

#: Attempts to read a file, and seconds before the second one; each further one waits
#: twice as long. A server that restarts takes longer, and is for the user to wait for.
ATTEMPTS, WAIT_S = 3, 0.2

_NAMES = (
    # the disk, a resource of the process or of the machine
    *("EIO", "EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "EINTR", "EBUSY", "ENOLCK"),
    # a network drive
    *("ESTALE", "ETIMEDOUT", "EREMOTEIO", "ENODEV", "ENXIO", "ENOTCONN", "ESHUTDOWN"),
    *("ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH"),
    *("ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "ECOMM", "ENOLINK"),
)
TRANSIENT_ERRNO = frozenset(getattr(errno, name, None) for name in _NAMES) - {None}
#: Windows: not ready, sharing and lock violations, network path or name gone, time-out,
#: no resources or memory, device error, unreachable.
TRANSIENT_WINERROR = frozenset(
    (21, 32, 33, 51, 53, 54, 55, 59, 64, 121, 1117, 1231, 1450, 1455)
)


def is_transient(error: BaseException | None) -> bool:
    """Return whether an error, or one that it was raised from, may pass by itself."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError | TryAgainError):
            return True
        # PyTorch's error for too little memory on the CPU
        if isinstance(error, RuntimeError) and "allocate memory" in str(error):
            return True
        if isinstance(error, OSError):
            if error.errno in TRANSIENT_ERRNO:
                return True
            if getattr(error, "winerror", None) in TRANSIENT_WINERROR:
                return True
        error = _cause(error)
    return False


def refuse_transient(error: BaseException, path: str | Path) -> None:
    """Raise a `TryAgainError` when an error may pass, so that nobody takes it for
    damage of the file.
    """
    if is_transient(error):
        raise TryAgainError(
            f"{path} cannot be used at the moment ({_reason(error)}). Check the disk, "
            "the network drive and the free memory, and run the same again; if it is "
            "always this file, replace or remove it."
        ) from error


def retried(read: Callable[[], T], path: str | Path) -> T:
    """Return ``read()``; an error that may pass is waited for a few times.

    Raises:
        TryAgainError: it has not passed. All other errors are raised at once.
    """
    for attempt in range(ATTEMPTS - 1):
        try:
            return read()
        except Exception as error:
            if not is_transient(error):
                raise
        time.sleep(WAIT_S * 2**attempt)
    try:
        return read()
    except Exception as error:
        refuse_transient(error, path)
        raise


def refuse_to_conclude(error: Exception, path: str) -> None:
    """Raise a `TryAgainError` where a recording may be a good one: the disk or the
    memory failed, or all files of its folder are gone since it was listed.
    """
    refuse_transient(error, path)
    is_missing = isinstance(error, ReadError) and error.reason == "missing_file"
    if is_missing and drive_is_gone(path):
        raise TryAgainError(
            f"{path} cannot be read: its folder is missing or empty. Connect the drive "
            "again and run the same again; if the recordings were deleted, load the "
            "cohort again."
        ) from error


def drive_is_gone(path: str | Path) -> bool:
    """Return whether a missing file is one of a whole folder that is missing or empty,
    as when a network drive or a USB disk was taken away.
    """
    folder = Path(path).parent
    try:
        return next(folder.iterdir(), None) is None
    except OSError:
        return True


def _cause(error: BaseException) -> BaseException | None:
    """Return the error that another one was raised from, or while it was handled."""
    if error.__suppress_context__:
        return error.__cause__
    return error.__context__


def _reason(error: BaseException) -> str:
    """Return the name of the innermost error that passes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return "the memory is full"
        if isinstance(cause, OSError) and cause.errno is not None:
            return f"{errno.errorcode.get(cause.errno, cause.errno)}: {cause.strerror}"
        cause = _cause(cause)
    return f"{type(error).__name__}: {error}"
