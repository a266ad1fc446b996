"""Fetch files from the Hugging Face hub into its cache: `fetch`, `fetch_folder`.

Files are kept in the hub's own cache, where other programs find them too, and are
compared with the hub's own checksum. The token comes from the environment alone
(``HF_TOKEN``); ``HF_HUB_OFFLINE``, ``HF_ENDPOINT`` and ``HF_HOME`` work as everywhere.

``huggingface_hub`` is an optional extra (``ecgnb[hub]``), so it is imported inside
functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ecgnb.core.errors import CheckpointError, ConfigError
from ecgnb.core.progress import say
from ecgnb.hub.download import ChecksumError, download_file, file_checksum
from ecgnb.hub.http_session import hub_session, offline, token

#: Suffixes of files that hold weights.
WEIGHTS = (".pt", ".safetensors")

_PART, _FILE = r"\w[\w.-]{0,95}", r"\w[^/\\:\n]{0,95}"
_NAME = re.compile(rf"({_PART}/{_PART})(?:/((?:{_FILE}/)*{_FILE}))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")  # not a branch or tag
#: ETag of a large file (SHA-256) or of a small one (git's SHA-1).
_CHECKSUM = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
#: Suffixes that make a two-part name a local file rather than a repository.
_LOCAL_SUFFIXES = (*WEIGHTS, ".pth", ".ckpt", ".bin", ".h5", ".keras", ".json")


@dataclass(frozen=True)
class Fetched:
    """A file of the hub on this machine.

    Attributes:
        path: in the cache.
        repository: "owner/repository".
        file: its path within the repository.
        revision: the commit it is from, 40 hex digits.
    """

    path: Path
    repository: str
    file: str
    revision: str


def is_hub_name(text: str) -> bool:
    """Return whether a text names a repository or file on the hub, not a local path.

    >>> is_hub_name("wanglab/ecg-fm/model.pt"), is_hub_name("runs/model.pt")
    (True, False)
    """
    match = _NAME.fullmatch(text)
    if match is None or Path(text).exists():
        return False
    repository, file = match[1], match[2]
    if file:
        return file.endswith(WEIGHTS)
    return not repository.endswith(_LOCAL_SUFFIXES)  # runs/model.pt


def fetch(name: str, revision: str | None = None) -> Fetched:
    """Fetch one file, or take it from the cache.

    An interrupted download continues where it stopped, also in another process. The
    bytes are compared with the hub's checksum after a download and each time the file
    is taken from the cache; only a cache without symbolic links (Windows without
    developer mode) does not know the checksum when the hub is not asked.

    Args:
        name: "owner/repository/file.pt", or "owner/repository" for the only file of
            weights in it.
        revision: commit, tag or branch; None for the newest, whose commit is then
            printed. With a full commit, a cached file needs no network.

    Raises:
        ConfigError: repository, file or revision do not exist, or there are several
            files to choose from.
        CheckpointError: the bytes are not those of the hub's checksum.
        FileError: the disk is full, or the cache cannot be written.
        MissingExtraError: huggingface-hub is not installed.
        EcgnbError: the repository is gated, or neither the hub nor the cache has an
            answer.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(
            f"{name!r} is no name on the hub. Give 'owner/repository' or "
            "'owner/repository/file.pt'."
        )
    repository, file = match[1], match[2] or ""
    with hub_session(repository, revision, file):
        file = file or _only_weights(repository, revision)
        path, checksum = _locate(repository, file, revision)
        _verify(path, _checksum_in_cache(path) or checksum)
    commit = _snapshot_folder(path, file).name
    if revision is None:
        say(
            f"{repository}: commit {commit}; pass revision={commit!r} to keep this one."
        )
    return Fetched(path, repository, file, commit)


def fetch_folder(
    repository: str, files: Sequence[str], revision: str | None = None
) -> Path:
    """Fetch some files of one commit and return the folder with them.

    Arguments and errors are those of `fetch`.
    """
    first = fetch(f"{repository}/{files[0]}", revision)
    for file in files[1:]:
        fetch(f"{repository}/{file}", first.revision)
    return _snapshot_folder(first.path, first.file)


def _snapshot_folder(path: Path, file: str) -> Path:
    """Return the folder of a commit, ``snapshots/<commit>``, that ``path`` is in."""
    return path.parents[len(PurePosixPath(file).parts) - 1]


def _only_weights(repository: str, revision: str | None) -> str:
    files = _list_files(repository, revision)
    weights = [file for file in files if file.endswith(WEIGHTS)]
    if len(weights) == 1:
        return weights[0]
    count = f"{len(weights)} files of weights" if weights else "no file of weights"
    raise ConfigError(
        f"{repository} has {count}: {', '.join(weights or files) or 'nothing'}. "
        f"Name the one to take, as '{repository}/<file>'."
    )


def _list_files(repository: str, revision: str | None) -> list[str]:
    """List the files of a repository; without network, those of it in the cache."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    if not offline():
        try:
            model = HfApi(token=token()).model_info(repository, revision=revision)
            return sorted(sibling.rfilename for sibling in model.siblings or ())
        except HTTPError as error:
            if isinstance(error, HfHubHTTPError):  # an answer, and not the network
                raise
    folder = snapshot_download(
        repository, revision=revision, token=token(), local_files_only=True
    )
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def _locate(repository: str, file: str, revision: str | None) -> tuple[Path, str]:
    """Return a file's path in the cache and the hub's checksum ("" if not asked).

    The library starts a download from 0 in each process. So `download_file` writes the
    bytes under the name that they have in the library's cache, which then finds them.
    """
    from huggingface_hub import (
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    names: dict[str, Any] = {"repo_id": repository, "filename": file}
    options: dict[str, Any] = {**names, "revision": revision, "token": token()}
    # a path, None or a marker
    cached = try_to_load_from_cache(**names, revision=revision)
    is_cached = isinstance(cached, str)
    if offline() or (is_cached and _COMMIT.fullmatch(revision or "")):
        return Path(hf_hub_download(**options, local_files_only=True)), ""
    try:
        url = hf_hub_url(**names, revision=revision)
        metadata = get_hf_file_metadata(url, token=token())
    except HTTPError as error:
        refused = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
        if refused or not isinstance(cached, str):
            raise
        say(
            f"The Hugging Face hub does not answer; {repository}/{file} is taken from "
            "the cache."
        )
        return Path(cached), ""
    commit = metadata.commit_hash
    checksum = _as_checksum(metadata.etag or "")
    blob = _blob_path(repository, checksum)
    in_cache = try_to_load_from_cache(**names, revision=commit)
    if checksum and commit and not isinstance(in_cache, str):
        _download_blob(names, commit, blob, metadata.size)
    path = Path(hf_hub_download(**options))
    if checksum and not path.is_symlink():
        blob.unlink(missing_ok=True)  # the library copied it: one copy is enough
    return path, checksum


def _blob_path(repository: str, checksum: str) -> Path:
    """Return where the hub's cache keeps the bytes with a checksum."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=repository, repo_type="model")
    return Path(constants.HF_HUB_CACHE, folder, "blobs", checksum)


def _download_blob(
    names: dict[str, Any], commit: str, blob: Path, size: int | None
) -> None:
    """Download a file's bytes into the cache; two processes do not do it at once."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    name = f"{names['repo_id']}/{names['filename']}"
    lock = blob.parents[2] / ".locks" / blob.parents[1].name / f"{blob.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)  # where the library has its locks
    with WeakFileLock(lock):
        if blob.exists():
            return
        say(f"Fetching {name}" + (f", {size / 1e6:.1f} MB" if size else ""))
        try:
            download_file(
                hf_hub_url(**names, revision=commit),
                blob,
                name=name,
                checksum=blob.name,
                size=size,
                headers=build_hf_headers(token=token()),
                show_progress=True,
            )
        except ChecksumError as error:
            raise CheckpointError(str(error)) from error


def _checksum_in_cache(path: Path) -> str:
    """Return the checksum the cache knows a file by: the name of its link's target."""
    return _as_checksum(path.readlink().name) if path.is_symlink() else ""


def _as_checksum(text: str) -> str:
    return text if _CHECKSUM.fullmatch(text) else ""


def _verify(path: Path, checksum: str) -> None:
    """Raise where a file's checksum is known and another."""
    if not checksum:
        return
    actual = file_checksum(path, like=checksum)
    if actual != checksum:
        raise CheckpointError(
            f"The bytes of {path} have the checksum {actual[:16]}..., the hub's is "
            f"{checksum[:16]}.... Delete {path.resolve()} and fetch it again."
        )
