"""Sessions with the Hugging Face hub: token, offline mode, errors.

``huggingface_hub`` is an optional extra (``ecgnb[hub]``), so it is imported inside
functions.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any, Literal

from ecgnb.core.errors import (
    CheckpointError,
    ConfigError,
    EcgnbError,
    FileError,
    MissingExtraError,
)
from ecgnb.core.files import DISK_FULL
from ecgnb.core.progress import mode

_MAX_SHOWN = 300  # characters quoted from an answer of the hub


def token() -> str | Literal[False]:
    """Return the token in the environment's ``HF_TOKEN``, else False.

    False, unlike None, keeps the library from sending a token that somebody stored on
    this machine.

    Raises:
        ConfigError: ``HF_TOKEN`` holds characters that no token has, such as a line
            break.
    """
    value = os.environ.get("HF_TOKEN", "").strip()
    if not re.fullmatch(r"[!-~]*", value):
        raise ConfigError(
            "HF_TOKEN is no token of the hub: it contains spaces or characters beyond "
            "ASCII. Copy it once more."
        )
    return value or False


def offline() -> bool:
    """Return whether ``HF_HUB_OFFLINE`` forbids the network.

    The library reads the variable when it is imported; here it also counts later.
    """
    from huggingface_hub import constants

    value = os.environ.get("HF_HUB_OFFLINE", "").upper()
    return bool(constants.HF_HUB_OFFLINE) or value in constants.ENV_VARS_TRUE_VALUES


@contextlib.contextmanager
def hub_session(
    repository: str, revision: str | None = None, file: str = ""
) -> Iterator[None]:
    """Run a block that uses the hub, with the errors of ecgnb and its progress bars.

    Raises:
        MissingExtraError: huggingface-hub is not installed.
        ConfigError: repository, revision or file do not exist, or the token is needed
            and missing or refused.
        FileError: the disk is full, or the cache cannot be written.
        EcgnbError: the repository is gated, the hub does not answer, or the connection
            broke.
    """
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "hub", "huggingface-hub", "The Hugging Face hub"
        ) from error
    with _progress_bars():
        try:
            yield
        except EcgnbError:
            raise
        except Exception as error:
            translated = _translate(error, repository, revision, file)
            if translated is None:
                raise
            raise translated from error


@contextlib.contextmanager
def _progress_bars() -> Iterator[None]:
    """Hide the library's progress bars unless our display shows bars."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if mode() == "bar" or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _translate(
    error: Exception, repository: str, revision: str | None, file: str
) -> EcgnbError | None:
    """Return our error for one of the library, or None for any other error."""
    from huggingface_hub import errors

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        # the library's upload threads wrap their errors in a RuntimeError
        return _translate(error.__cause__, repository, revision, file)
    if isinstance(error, errors.HFValidationError):
        return ConfigError(
            f"{repository!r} is no name of a repository. Give it as 'owner/repository'."
        )
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return _not_cached_error(f"{repository}/{file}" if file else repository)
    if isinstance(error, errors.HfHubHTTPError):
        return _status_error(error, repository, revision, file)
    if isinstance(error, errors.HTTPError):  # the base of all that httpx raises
        return EcgnbError(
            f"The Hugging Face hub does not answer ({type(error).__name__}: "
            f"{_quote(error)}). Check the connection, a proxy, and HF_ENDPOINT where "
            "it is set, and run the same again; what has arrived is kept."
        )
    if isinstance(error, OSError):
        return _disk_error(error, repository)
    if isinstance(error, ValueError | RuntimeError):
        # a card's metadata or the large files of a push were refused
        return EcgnbError(f"The Hugging Face hub refuses this: {_quote(error)}")
    return None


def _status_error(
    error: Any, repository: str, revision: str | None, file: str
) -> EcgnbError:
    """Return our error for an ``HfHubHTTPError``: the hub answered without success."""
    from huggingface_hub import errors

    status = error.response.status_code
    reason = error.response.headers.get("X-Error-Message", "")  # the hub's own words
    used_token = "no token (HF_TOKEN is not set)"
    if token():
        used_token = "the token in HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        return EcgnbError(
            f"{repository} is gated, and it was requested with {used_token}. Request "
            "access on its page of the Hugging Face hub, and set HF_TOKEN to a token "
            "of the account that has it."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ConfigError(
            f"{repository} has no revision {revision!r}. Give a commit, a tag or a "
            "branch of it."
        )
    if isinstance(error, errors.EntryNotFoundError):
        at_revision = f" at revision {revision}" if revision else ""
        return ConfigError(
            f"{repository} has no file {file!r}{at_revision}. Its page of the Hugging "
            "Face hub lists its files."
        )
    if status == 401 and reason.startswith("Invalid credentials"):
        return ConfigError(
            "The Hugging Face hub does not know the token in HF_TOKEN. Set a valid "
            "one, or unset it."
        )
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        return ConfigError(
            f"The Hugging Face hub has no repository {repository!r}, or a private one; "
            f"it was requested with {used_token}. Check the name, and for a private "
            "one HF_TOKEN. If a local file was meant: it does not exist."
        )
    if status == 403:  # known, and not allowed
        return ConfigError(
            f"The Hugging Face hub does not allow this with {repository} to "
            f"{used_token}. Set HF_TOKEN to a token that may read it, or write it for "
            "a push."
        )
    quoted = f": {_quote(reason)}" if reason else ""
    return EcgnbError(
        f"The Hugging Face hub answers {status} for {repository}{quoted}. Run the same "
        "again later."
    )


def _not_cached_error(name: str) -> EcgnbError:
    if offline():
        return EcgnbError(
            f"{name} is not in the cache, and HF_HUB_OFFLINE forbids to fetch it. "
            "Unset it once to fetch, or copy the cache of a machine that has it "
            "(HF_HOME)."
        )
    return EcgnbError(
        f"{name} is not in the cache, and the Hugging Face hub does not answer. Check "
        "the connection."
    )


def _disk_error(error: OSError, repository: str) -> EcgnbError:
    again = "run the same again; what has arrived is kept"
    if error.errno is None:  # raised by the library for a wrong number of bytes
        return CheckpointError(f"{repository} did not arrive whole. {again}.")
    advice = "Choose a folder where you may write (HF_HOME)"
    if error.errno in DISK_FULL:
        advice = "Make room"
    path = error.filename or "The cache of the Hugging Face hub"
    return FileError(
        f"{path} cannot be written: {error.strerror}. {advice} and {again}.",
        error.errno,
    )


def _quote(message: object) -> str:
    """Return the start of a message, without the token should it be repeated there."""
    text = str(message)
    if secret := token():
        text = text.replace(secret, "...")  # never into a log
    return text[:_MAX_SHOWN]  # an answer may be a whole page
