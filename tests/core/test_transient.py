"""Errors that pass are waited for and never taken for damage."""

from __future__ import annotations

import errno
import pickle

import pytest

from ecgnb.core import transient
from ecgnb.core.errors import FileError, ReadError, TryAgainError
from ecgnb.core.transient import is_transient, refuse_transient, retried


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transient, "WAIT_S", 0.0)


def raised_from(cause: BaseException, *, implicit: bool = False) -> Exception:
    """Return a `ReadError` as a reader makes it of another error."""
    try:
        try:
            raise cause
        except type(cause) as error:
            if implicit:
                raise ReadError("unreadable", "it cannot be read")  # noqa: B904
            raise ReadError("unreadable", "it cannot be read") from error
    except ReadError as error:
        return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EIO, "Input/output error"), True),
        (OSError(errno.EMFILE, "Too many open files"), True),
        (OSError(errno.ENFILE, "Too many open files in system"), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), True),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected"), True),
        (FileError("a server that is gone", errno.EHOSTDOWN), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (raised_from(OSError(errno.EIO, "Input/output error")), True),
        (raised_from(MemoryError(), implicit=True), True),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (raised_from(ValueError("a damaged number")), False),
        (RuntimeError("PytorchStreamReader failed"), False),
    ],
)
def test_what_passes_and_what_does_not(error: Exception, expected: bool) -> None:
    assert is_transient(error) is expected


def test_error_numbers_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError(errno.EINVAL, "The network name is no longer available")
    assert not is_transient(error)
    error.winerror = 64
    assert is_transient(error)


def test_an_error_that_passes_is_waited_for_and_another_is_not() -> None:
    for error, calls in ((OSError(errno.EIO, "again"), 3), (ValueError("no"), 1)):
        errors = [error, error]

        def read(errors: list[Exception] = errors) -> str:
            if errors:
                raise errors.pop()
            return "read"

        if calls == 3:
            assert retried(read, "a.dat") == "read" and not errors
        else:
            with pytest.raises(ValueError, match="no"):
                retried(read, "a.dat")
            assert len(errors) == 1


def test_an_error_that_does_not_pass_says_what_to_do() -> None:
    def read() -> None:
        raise raised_from(OSError(errno.ESTALE, "Stale file handle"))

    with pytest.raises(
        TryAgainError,
        match=r"a\.dat cannot be used at the moment \(ESTALE: Stale file handle\)\. "
        r"Check .* run the same again",
    ) as caught:
        retried(read, "a.dat")
    assert caught.value.reason == "try_again"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    refuse_transient(ValueError("damaged"), "a.dat")  # no reason to wait
