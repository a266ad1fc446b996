"""`fetch`: one file from the Hugging Face hub, resumed where it stopped, checked
against the hub's own checksum.

Files lie in the hub's own cache, where other programs find them too. The token comes
from the environment alone (``HF_TOKEN``); ``HF_HUB_OFFLINE``, ``HF_ENDPOINT`` and
``HF_HOME`` work as everywhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ecgnb.core.errors import CheckpointError, ConfigError, FileError
from ecgnb.core.files import sha256_file
from ecgnb.core.progress import say
from ecgnb.hub.http_session import hub_session, offline, token

#: Endings of files that hold weights.
WEIGHTS = (".pt", ".safetensors")

_PART, _FILE = r"\w[\w.-]{0,95}", r"\w[^/\\:\n]{0,95}"
_NAME = re.compile(rf"({_PART}/{_PART})(?:/((?:{_FILE}/)*{_FILE}))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
#: What the hub tells of a file's bytes: the SHA-256 of a large one, git's SHA-1 of a
#: small one.
_CHECKSUM = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
#: Endings by which a name of two parts is a file here rather than a repository there.
_FILES = (*WEIGHTS, ".pth", ".ckpt", ".bin", ".h5", ".keras", ".json")


@dataclass(frozen=True)
class Fetched:
    """A file of the hub that lies on this machine.

    Attributes:
        path: where it lies.
        repository: "owner/repository".
        file: its path within the repository.
        revision: the commit it is from, 40 hex digits.
        sha256: of its bytes as they lie here.
    """

    path: Path
    repository: str
    file: str
    revision: str
    sha256: str


def is_hub_name(text: str) -> bool:
    """Return whether a text names something on the hub and nothing on this machine.

    >>> [is_hub_name(text) for text in ("wanglab/ecg-fm", "wanglab/ecg-fm/model.pt", "./model.pt", "runs/model.pt")]
    [True, True, False, False]
    """
    found = _NAME.fullmatch(text)
    if found is None or Path(text).exists():
        return False
    return found[2].endswith(WEIGHTS) if found[2] else not found[1].endswith(_FILES)


def fetch(name: str, revision: str | None = None) -> Fetched:
    """Fetch one file, or find it in the cache.

    A download that was cut goes on where it stopped, also in another process. Its bytes
    are compared with the checksum that the hub tells, after a download and each time
    the file is taken from the cache; only a cache without symbolic links (Windows
    without developer mode) does not know it where the hub is not asked.

    Args:
        name: "owner/repository/file.pt", or "owner/repository" for the only file of
            weights in it.
        revision: commit, tag or branch; None for the newest, and a line says which that
            is. With a full commit, a cached file needs no network.

    Raises:
        ConfigError: repository, file or revision are not there, or there are several
            files to choose from.
        CheckpointError: the bytes are not those that the hub tells.
        FileError: the disk is full, or the cache cannot be written.
        MissingExtraError: huggingface-hub is not installed.
        EcgnbError: the repository is gated, or neither the hub nor the cache has an
            answer.
    """
    repository, file = _split(name)
    with hub_session(repository, revision, file):
        file = file or _only_weights(repository, revision)
        path, told = _provide(repository, file, revision)
        checksum = _checksum_in_cache(path) or told
        sha256 = _verified(
            path, checksum, f"Delete {path.resolve()} and fetch it again."
        )
    commit = path.parents[len(PurePosixPath(file).parts) - 1].name
    if revision is None:
        say(
            f"{repository}: commit {commit}; with revision={commit!r} it stays this one."
        )
    return Fetched(path, repository, file, commit, sha256)


def fetch_folder(
    repository: str, files: Sequence[str], revision: str | None = None
) -> Path:
    """Fetch some files of one commit and return the folder with them; arguments and
    errors are those of `fetch`.
    """
    first = fetch(f"{repository}/{files[0]}", revision)
    for file in files[1:]:
        fetch(f"{repository}/{file}", first.revision)
    return first.path.parents[len(PurePosixPath(first.file).parts) - 1]


def _split(name: str) -> tuple[str, str]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise ConfigError(
            f"{name!r} names nothing on the hub. Give 'owner/repository' or 'owner/repository/file.pt'."
        )
    return found[1], found[2] or ""


def _only_weights(repository: str, revision: str | None) -> str:
    files = _list_files(repository, revision)
    weights = [file for file in files if file.endswith(WEIGHTS)]
    if len(weights) != 1:
        held = ", ".join(weights or files) or "nothing"
        many = f"{len(weights)} files of weights" if weights else "no file of weights"
        raise ConfigError(
            f"{repository} has {many}: {held}. Name the one to take, as '{repository}/<file>'."
        )
    return weights[0]


def _list_files(repository: str, revision: str | None) -> list[str]:
    """List the files of a repository; without network those that the cache has of
    it.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    if not offline():
        try:
            told = (
                HfApi(token=token()).model_info(repository, revision=revision).siblings
            )
            return sorted(each.rfilename for each in told or ())
        except HTTPError as error:
            if isinstance(error, HfHubHTTPError):
                raise
    folder = Path(
        snapshot_download(
            repository, revision=revision, token=token(), local_files_only=True
        )
    )
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    )


def _provide(repository: str, file: str, revision: str | None) -> tuple[Path, str]:
    """Return where a file lies in the cache, fetched where it is not there, and its
    checksum where the hub was asked.

    The library begins a download anew in each process, so the bytes are gathered here,
    under the name that they have in its cache; it then finds them there.
    """
    from huggingface_hub import (
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    about: dict[str, Any] = {"repo_id": repository, "filename": file}
    cached = try_to_load_from_cache(**about, revision=revision)
    here = isinstance(cached, str)
    if offline() or (here and _COMMIT.fullmatch(revision or "")):
        return Path(
            hf_hub_download(
                **about, revision=revision, token=token(), local_files_only=True
            )
        ), ""
    try:
        told = get_hf_file_metadata(
            hf_hub_url(**about, revision=revision), token=token()
        )
    except HTTPError as error:
        refused = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
        if refused or not isinstance(cached, str):
            raise
        say(
            f"The Hugging Face hub does not answer; {repository}/{file} is the one in the cache."
        )
        return Path(cached), ""
    checksum = told.etag if told.etag and _CHECKSUM.fullmatch(told.etag) else ""
    if (
        checksum
        and told.commit_hash
        and not isinstance(
            try_to_load_from_cache(**about, revision=told.commit_hash), str
        )
    ):
        _gather(about, told.commit_hash, checksum, told.size)
    path = Path(hf_hub_download(**about, revision=revision, token=token()))
    if (
        checksum and not path.is_symlink()
    ):  # the library copied it there: once is enough
        _blob(repository, checksum).unlink(missing_ok=True)
    return path, checksum


def _blob(repository: str, checksum: str) -> Path:
    """Return where the hub's cache has the bytes with a checksum."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(
        constants.HF_HUB_CACHE,
        repo_folder_name(repo_id=repository, repo_type="model"),
        "blobs",
        checksum,
    )


def _gather(
    about: dict[str, Any], commit: str, checksum: str, size: int | None
) -> None:
    """Bring the bytes of a file into the cache, going on where an earlier attempt
    stopped.
    """
    from huggingface_hub.utils import WeakFileLock

    blob = _blob(about["repo_id"], checksum)
    part = blob.with_name(f"{checksum}.incomplete")
    lock = blob.parents[2] / ".locks" / blob.parents[1].name / f"{checksum}.lock"
    for folder in (blob.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():
            return
        part.touch()
        if (
            size is not None and part.stat().st_size > size
        ):  # whatever it is, it does not begin this file
            os.truncate(part, 0)
        _announce(
            f"{about['repo_id']}/{about['filename']}",
            size,
            part.stat().st_size,
            blob.parent,
        )
        _complete(part, about, commit, size)
        try:
            _verified(part, checksum, "They were deleted; fetch the file again.")
        except CheckpointError:
            part.unlink()
            raise
        os.replace(part, blob)


def _complete(part: Path, about: dict[str, Any], commit: str, size: int | None) -> None:
    """Fetch what a partial file lacks, with as many attempts as bring something new."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    headers = {**build_hf_headers(token=token()), "Accept-Encoding": "identity"}
    words: dict[str, Any] = {
        "headers": headers,
        "expected_size": size,
        "displayed_filename": about["filename"],
    }
    while True:
        have = part.stat().st_size
        try:
            with part.open("ab") as target:
                http_get(
                    hf_hub_url(**about, revision=commit),
                    target,
                    resume_size=have,
                    **words,
                )
            return
        except HTTPError as error:
            if isinstance(error, HfHubHTTPError) or part.stat().st_size == have:
                raise


def _announce(name: str, size: int | None, have: int, folder: Path) -> None:
    if size is None:
        say(f"Fetching {name}")
        return
    free = shutil.disk_usage(folder).free
    if free < size - have:
        raise FileError(
            f"{name} has {size / 1e6:.1f} MB, and {folder} has room for {free / 1e6:.1f} MB. Make room, or set HF_HOME "
            "to a folder on another disk."
        )
    say(
        f"Fetching {name}, {size / 1e6:.1f} MB"
        + (f", of which {have / 1e6:.1f} MB are here" if have else "")
    )


def _checksum_in_cache(path: Path) -> str:
    """Return the checksum by which the cache knows a file: the name of what its link
    points to.
    """
    name = path.readlink().name if path.is_symlink() else ""
    return name if _CHECKSUM.fullmatch(name) else ""


def _verified(path: Path, checksum: str, advice: str) -> str:
    """Return the SHA-256 of a file whose checksum is the one told, where one is
    told.
    """
    sha256 = sha256_file(path)
    found = _git_checksum(path) if len(checksum) == 40 else sha256
    if checksum and found != checksum:
        raise CheckpointError(
            f"The bytes of {path} have the checksum {found[:16]}..., the hub tells {checksum[:16]}.... {advice}"
        )
    return sha256


def _git_checksum(path: Path) -> str:
    """Return the SHA-1 by which git names a file's contents; the hub tells it for small
    files.
    """
    content = path.read_bytes()
    return hashlib.sha1(
        b"blob %d\0" % len(content) + content, usedforsecurity=False
    ).hexdigest()
