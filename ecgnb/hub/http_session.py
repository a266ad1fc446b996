"""How the house speaks with the Hugging Face hub: with which token, whether at all, and
what its refusals mean.
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

_SHOWN = 300  # characters of what the hub says of a request that it does not take


def token() -> str | Literal[False]:
    """Return the token in the environment's ``HF_TOKEN``, else False.

    False, unlike None, keeps the library from sending a token that somebody stored on
    this machine.

    Raises:
        ConfigError: ``HF_TOKEN`` holds what no token can hold, such as a line break
            within.
    """
    found = os.environ.get("HF_TOKEN", "").strip()
    if not re.fullmatch(r"[!-~]*", found):
        raise ConfigError(
            "HF_TOKEN is no token of the hub: it holds spaces or signs beyond ASCII. Copy it once more."
        )
    return found or False


def offline() -> bool:
    """Return whether ``HF_HUB_OFFLINE`` forbids the network, also when it was set after
    the library was imported.
    """
    from huggingface_hub import constants

    now = os.environ.get("HF_HUB_OFFLINE", "").upper() in constants.ENV_VARS_TRUE_VALUES
    return bool(constants.HF_HUB_OFFLINE) or now


@contextlib.contextmanager
def hub_session(
    repository: str, revision: str | None = None, file: str = ""
) -> Iterator[None]:
    """Run a block that speaks with the hub: its errors become ours, its bars show where
    ours would.

    Raises:
        MissingExtraError: huggingface-hub is not installed.
        ConfigError: repository, revision or file are not there, or the token is needed
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
    with _bars():
        try:
            yield
        except EcgnbError:
            raise
        except Exception as error:
            ours = _ours(error, repository, revision, file)
            if ours is None:
                raise
            raise ours from error


@contextlib.contextmanager
def _bars() -> Iterator[None]:
    """Hide the library's bars where the house shows none."""
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


def _ours(
    error: Exception, repository: str, revision: str | None, file: str
) -> EcgnbError | None:
    """Return our error for one of the library, or None for what is not the hub's
    doing.
    """
    from huggingface_hub import errors as theirs

    if isinstance(error, RuntimeError) and isinstance(
        error.__cause__, Exception
    ):  # as its upload threads raise them
        return _ours(error.__cause__, repository, revision, file)
    if isinstance(error, theirs.HFValidationError):
        return ConfigError(
            f"{repository!r} is no name of a repository. Give it as 'owner/repository'."
        )
    if isinstance(error, theirs.LocalEntryNotFoundError | theirs.OfflineModeIsEnabled):
        return _absent(repository, file)
    if isinstance(error, theirs.HfHubHTTPError):
        return _refusal(error, repository, revision, file)
    if isinstance(
        error, theirs.HTTPError
    ):  # the library's own name for all that its HTTP client raises
        return EcgnbError(
            f"The Hugging Face hub does not answer ({type(error).__name__}: {_words(error)}). Check the connection, a "
            "proxy, and HF_ENDPOINT where it is set, and run the same again; what came so far is kept."
        )
    if isinstance(error, OSError):
        return _disk(error, repository)
    if isinstance(
        error, ValueError | RuntimeError
    ):  # metadata of a card, the large files of a push
        return EcgnbError(f"The Hugging Face hub does not take this: {_words(error)}")
    return None


def _refusal(
    error: Any, repository: str, revision: str | None, file: str
) -> EcgnbError:
    """Return our error for an answer of the hub that is no success; ``error`` is an
    ``HfHubHTTPError``.
    """
    from huggingface_hub import errors as theirs

    status = error.response.status_code
    said = error.response.headers.get("X-Error-Message", "")
    with_token = (
        "the token in HF_TOKEN" if token() else "no token (HF_TOKEN is not set)"
    )
    if isinstance(error, theirs.GatedRepoError):
        return EcgnbError(
            f"{repository} is gated, and it was asked for with {with_token}. Ask for access on its page of the Hugging "
            "Face hub, and set HF_TOKEN to a token of the account that has it."
        )
    if isinstance(error, theirs.RevisionNotFoundError):
        return ConfigError(
            f"{repository} has no revision {revision!r}. Give a commit, a tag or a branch of it."
        )
    if isinstance(error, theirs.EntryNotFoundError):
        at = f" at revision {revision}" if revision else ""
        return ConfigError(
            f"{repository} has no file {file!r}{at}. Its page of the Hugging Face hub lists its files."
        )
    if status == 401 and said.startswith("Invalid credentials"):
        return ConfigError(
            "The Hugging Face hub does not know the token in HF_TOKEN. Set a valid one, or unset it."
        )
    if isinstance(error, theirs.RepositoryNotFoundError) or status in (401, 404):
        return ConfigError(
            f"The Hugging Face hub has no repository {repository!r}, or a private one; it was asked with {with_token}. "
            "Check the name, and for a private one HF_TOKEN. A file of this machine was meant? It is not there."
        )
    if status == 403:
        return ConfigError(
            f"The Hugging Face hub does not allow this with {repository} to {with_token}. Set HF_TOKEN to a token that "
            "may read it, and to push one that may write it."
        )
    said = f": {_words(said)}" if said else ""
    return EcgnbError(
        f"The Hugging Face hub answers {status} for {repository}{said}. Run the same again later."
    )


def _absent(repository: str, file: str) -> EcgnbError:
    name = f"{repository}/{file}" if file else repository
    if offline():
        return EcgnbError(
            f"{name} is not in the cache, and HF_HUB_OFFLINE forbids to fetch it. Unset it once to fetch, or copy the "
            "cache of a machine that has it (HF_HOME)."
        )
    return EcgnbError(
        f"{name} is not in the cache, and the Hugging Face hub does not answer. Check the connection."
    )


def _disk(error: OSError, repository: str) -> EcgnbError:
    if (
        error.errno is None
    ):  # the library's words for fewer or more bytes than were announced
        return CheckpointError(
            f"{repository} did not arrive whole. Run the same again; what came so far is kept."
        )
    advice = (
        "Make room"
        if error.errno in DISK_FULL
        else "Choose a folder where you may write (HF_HOME)"
    )
    where = error.filename or "The cache of the Hugging Face hub"
    return FileError(
        f"{where} cannot be written: {error.strerror}. {advice} and run the same again; what came so far is kept.",
        error.errno,
    )


def _words(said: object) -> str:
    """Return what somebody else said, short and without the token, should it be
    repeated there.
    """
    secret = token()
    text = str(said).replace(secret, "...") if secret else str(said)
    return text[:_SHOWN]
