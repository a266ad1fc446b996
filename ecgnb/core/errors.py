"""Exceptions of ecgnb: one root, a subclass for each kind of problem.

Every message has what happened, with which value or record, and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence


def first_few(items: Sequence[object], count: int = 5) -> str:
    """Return the first ``count`` items as text, and how many more there are.

    >>> first_few(["I", "II", "III"], count=2)
    'I, II and 1 more'
    """
    text = ", ".join(map(str, items[:count]))
    more = len(items) - count
    if more > 0:
        text += f" and {more} more"
    return text


class EcgnbError(Exception):
    """Root of all errors that ecgnb raises on purpose."""


class ConfigError(EcgnbError, ValueError):
    """A parameter, option or name is unknown or has a wrong type or value."""


class ReadError(EcgnbError):
    """A recording cannot be read, or must not be used.

    Attributes:
        reason: a short code such as ``"truncated"``, as in ``rejected.csv``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TryAgainError(ReadError):
    """A file cannot be read at the moment; it may be whole, and the same call may
    succeed later. Nothing is concluded from it.
    """

    def __init__(self, message: str) -> None:
        super().__init__("try_again", message)

    def __reduce__(self) -> tuple[type[TryAgainError], tuple[str]]:
        """Pickle without the reason, so that a worker process can raise it."""
        return TryAgainError, (str(self),)


class LabelError(EcgnbError):
    """Labels are missing, contradictory or not among the classes."""


class StoreError(EcgnbError):
    """A signal store is missing, damaged or was made by another configuration."""


class SplitError(EcgnbError):
    """A split is impossible, empty or leaks between training and test."""


class CheckpointError(EcgnbError):
    """A checkpoint or bundle is damaged or belongs to another configuration."""


class StageError(EcgnbError):
    """A stage was called before the stage that makes its input."""


class PortError(EcgnbError):
    """A Keras file is damaged, or contains a layer or an option that cannot be ported
    exactly.
    """


class MissingExtraError(EcgnbError, ImportError):
    """A package of an optional extra is not installed.

    >>> str(MissingExtraError("port", "h5py", "Reading Keras files"))
    'Reading Keras files needs h5py, which is not installed: pip install "ecgnb[port]".'
    """

    def __init__(self, extra: str, package: str, what: str) -> None:
        super().__init__(
            f"{what} needs {package}, which is not installed: "
            f'pip install "ecgnb[{extra}]".'
        )


class FileError(EcgnbError, OSError):
    """A file or folder cannot be written: the disk is full, or it is not writable."""

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno

    def __reduce__(self) -> tuple[type[FileError], tuple[str, int | None]]:
        """Pickle with both arguments, so that a worker process can raise it."""
        return FileError, (str(self), self.errno)
