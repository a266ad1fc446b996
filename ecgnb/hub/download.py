"""Resumable, checksummed download of one file over HTTP.

Bytes are collected in ``<name>.part`` and the file takes its name only when it is
complete and its checksum is right. An interrupted download continues where it stopped,
also in another process. Data sets (`ecgnb.data.catalog.download_dataset`) and models
(`ecgnb.hub.huggingface`) both use it.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import math
import os
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgnb.core.errors import EcgnbError, FileError
from ecgnb.core.files import DISK_FULL, flush_file, flush_folder, sha256_file
from ecgnb.core.progress import progress

#: Attempts in a row that bring no new byte before a file is given up.
ATTEMPTS = 4
#: Seconds before the second attempt; each further one waits twice as long.
WAIT_S = 1.0
#: Seconds without an answer before an attempt fails.
TIMEOUT_S = 60.0

#: Suffix of a file that has not arrived completely.
PART = ".part"

_BLOCK = 1 << 20  # bytes: 1 MiB, so that progress counts MiB
_RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)  # overload and time-outs


class ChecksumError(EcgnbError):
    """A file arrived complete, and its bytes are not the published ones."""


class _IncompleteError(Exception):
    """An attempt that ended early; another one may bring the rest."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but keep the token from every other host.

    The Hugging Face hub redirects to a storage provider, and urllib would send it all
    headers.
    """

    def redirect_request(
        self, req: urllib.request.Request, *args: Any
    ) -> urllib.request.Request | None:
        redirected = super().redirect_request(req, *args)
        if redirected and (redirected.type, redirected.host) != (req.type, req.host):
            redirected.remove_header("Authorization")
        return redirected


@dataclass(frozen=True)
class _Job:
    url: str
    part: Path
    name: str
    headers: Mapping[str, str]
    show_progress: bool
    stop: threading.Event

    @property
    def n_bytes(self) -> int:
        """Number of bytes that have arrived, also in earlier processes."""
        return self.part.stat().st_size if self.part.is_file() else 0


def download_file(
    url: str,
    target: Path,
    *,
    name: str = "",
    checksum: str = "",
    size: int | None = None,
    headers: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
    show_progress: bool = False,
    part_suffix: str = PART,
) -> bool:
    """Download a file, unless it is there with the right checksum.

    Args:
        url: http or https.
        target: path to write; its folder is made where it is missing.
        name: what errors and progress call the file; None for the file's name.
        checksum: published SHA-256 (64 hex digits) or git blob SHA-1 (40). Without one
            the file is always fetched, from its first byte.
        size: bytes of the whole file, where known; checked against the free space.
        headers: further HTTP headers.
        stop: set by another thread to end the download early.
        show_progress: whether to show the MiB that have arrived.
        part_suffix: of the file in which the bytes are collected.

    Returns:
        Whether it had to be fetched.

    Raises:
        ChecksumError: the bytes are not those of ``checksum``; they are deleted.
        FileError: the disk is full, or ``target`` cannot be written.
        EcgnbError: the server does not answer, refuses, or the connection broke.
    """
    part = target.with_name(target.name + part_suffix)
    job = _Job(
        url,
        part,
        name or target.name,
        headers or {},
        show_progress,
        stop or threading.Event(),
    )
    with _readable_errors(job.name):
        is_comparable = checksum and target.is_file()
        if is_comparable and file_checksum(target, checksum) == checksum:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        if not checksum:
            part.unlink(missing_ok=True)
        if size is not None:
            _require_space(job, size)
        resumed = part.is_file()
        _fetch_remaining(job, size)
        if resumed and file_checksum(part, checksum) != checksum:
            # The part may be of an earlier version of the file: once more, from 0.
            part.unlink()
            _fetch_remaining(job, size)
        if checksum:
            _require_checksum(job, checksum)
        flush_file(part)
        os.replace(part, target)  # atomic: complete or not there
        flush_folder(target.parent)
    return True


def file_checksum(path: Path, like: str = "") -> str:
    """Return a file's SHA-256, or git's SHA-1 of it where ``like`` has 40 digits."""
    if len(like) != 40:
        return sha256_file(path)
    content = path.read_bytes()
    header = b"blob %d\0" % len(content)  # git hashes type and length as well
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def _require_space(job: _Job, size: int) -> None:
    folder = job.part.parent
    free = shutil.disk_usage(folder).free
    if free < size - job.n_bytes:
        raise FileError(
            f"{job.name} has {size / 1e6:.1f} MB, and {folder} has room for "
            f"{free / 1e6:.1f} MB. Make room, or choose a folder on another disk "
            "(for the Hugging Face hub: HF_HOME)."
        )


def _require_checksum(job: _Job, checksum: str) -> None:
    actual = file_checksum(job.part, checksum)
    if actual != checksum:
        job.part.unlink()
        raise ChecksumError(
            f"{job.name} arrived with the checksum {actual[:16]}..., published is "
            f"{checksum[:16]}.... It was deleted; fetch the file again. If it happens "
            "again, the file or its checksum is wrong at the source."
        )


@contextlib.contextmanager
def _readable_errors(name: str) -> Iterator[None]:
    """Turn errors of the network and the disk into those of ecgnb, with the name."""
    again = "run the same again; what has arrived is kept"
    try:
        yield
    except EcgnbError:
        raise
    except urllib.error.HTTPError as error:
        address = (error.url or "").partition("?")[0]  # a query may hold a signature
        raise EcgnbError(
            f"{name} cannot be fetched: {error.code} {error.reason} for {address}."
        ) from error
    except _IncompleteError as error:
        raise EcgnbError(
            f"{name} cannot be fetched: {error}. Check the connection and proxy, and "
            f"{again}."
        ) from error
    except OSError as error:
        message = (
            f"{name} cannot be written: {error}. Choose a folder where you may write "
            f"and {again}."
        )
        if error.errno in DISK_FULL:
            message = (
                f"The disk is full: {name} cannot be written. Make room and {again}."
            )
        raise FileError(message, error.errno) from error


def _fetch_remaining(job: _Job, size: int | None) -> None:
    """Fetch the missing bytes, with as many attempts as bring something new."""
    failures = 0
    while True:
        before = job.n_bytes
        try:
            _attempt(job)
            if size is not None and job.n_bytes < size:
                raise _IncompleteError(f"the server sent {job.n_bytes} of {size} bytes")
            return
        except urllib.error.HTTPError as error:
            if error.code not in _RETRIED_STATUS:
                raise
            error.close()
            problem: Exception = error
        except _IncompleteError as error:
            problem = error
        # new bytes: start counting again
        failures = 1 if job.n_bytes > before else failures + 1
        if failures >= ATTEMPTS or job.stop.wait(WAIT_S * 2 ** (failures - 1)):
            raise problem


def _attempt(job: _Job) -> None:
    """Request the missing bytes once and write what comes."""
    offset = job.n_bytes
    headers = {"User-Agent": "ecgnb", **job.headers, "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"  # RFC 9110, 14.2
    request = urllib.request.Request(job.url, headers=headers)
    try:
        opener = urllib.request.build_opener(_Redirects)  # in place of urllib's handler
        response = opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and offset:  # nothing beyond offset: complete, or another
            error.close()  # version of the file, which the checksum shows
            return
        raise
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise _IncompleteError(f"no answer ({reason})") from error
    with response:
        content_range = response.headers.get("Content-Range", "")
        # partial content
        if response.status == 206 and not content_range.startswith(f"bytes {offset}-"):
            job.part.unlink(missing_ok=True)
            raise _IncompleteError("the server sent another range than requested")
        if response.status != 206:
            offset = 0  # a server without ranges sends the whole file again
        _write(response, job, offset)


def _write(response: http.client.HTTPResponse, job: _Job, offset: int) -> None:
    """Append to the part from ``offset`` what the server sends."""
    length = response.headers.get("Content-Length", "")
    expected = int(length) if re.fullmatch(r"\d+", length) else None
    arrived = 0
    blocks: Iterator[bytes] = iter(lambda: _read(response), b"")
    if job.show_progress:
        n_blocks = math.ceil(expected / _BLOCK) if expected is not None else None
        blocks = progress(blocks, total=n_blocks, title=f"{job.name} [MiB]")
    with job.part.open("ab" if offset else "wb") as file:
        for block in blocks:
            file.write(block)
            arrived += len(block)
            if job.stop.is_set():
                raise _IncompleteError("the download was stopped")
    if expected is not None and arrived < expected:
        raise _IncompleteError(
            f"the connection ended after {offset + arrived} of "
            f"{offset + expected} bytes"
        )


def _read(response: http.client.HTTPResponse) -> bytes:
    """Read a block; an error here is the network's, any other one the disk's."""
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _IncompleteError(f"the connection broke: {error}") from error
