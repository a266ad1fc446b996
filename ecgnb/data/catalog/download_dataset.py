"""`download`: fetch an open data set from PhysioNet, resumed where it stopped and
checked file by file.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.files import atomic_write, sha256_file
from ecgnb.core.progress import progress, say

BASE_URL = "https://physionet.org/files"
CHECKSUMS = "SHA256SUMS.txt"

#: Requests under way at once; PhysioNet asks for moderation.
THREADS = 4
#: Attempts in a row that bring no new byte before a file is given up.
ATTEMPTS = 4
#: Seconds before the second attempt; each further one waits twice as long.
WAIT_S = 1.0
#: Seconds without an answer before an attempt is over.
TIMEOUT_S = 60.0

_BLOCK = 1 << 18
_LINE = re.compile(r"^([0-9a-fA-F]{64})[ \t]+\*?(.+)$")
_WORTH_RETRYING = (408, 425, 429, 500, 502, 503, 504)
_DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True)
class _File:
    """One file of the set: its path within the set, its URL, where it goes, and its
    SHA-256.
    """

    name: str
    url: str
    target: Path
    sha256: str

    @property
    def part(self) -> Path:
        """Where its bytes are gathered until it is whole."""
        return self.target.with_name(self.target.name + ".part")


class _UnfinishedError(Exception):
    """An attempt that ended early; another may bring the rest."""


def download(name: str, folder: str | Path, *, base_url: str | None = None) -> Path:
    """Fetch a data set into a folder.

    Files that are there and whole are not fetched again, and a file that was cut short
    is continued, so a download that stopped is resumed by starting it again. A file
    takes its name only when its SHA-256 is the published one.

    Args:
        name: data set of the catalogue.
        folder: where it goes; made where it is missing.
        base_url: where the sets lie; None for PhysioNet.

    Returns:
        The folder.

    Raises:
        ConfigError: the data set is unknown or not on PhysioNet, or ``base_url`` is no
            web address.
        EcgnbError: a file cannot be had or is not the published one, or the disk is
            full.
    """
    url = f"{_checked(base_url or BASE_URL)}/{_project(name)}"
    folder = Path(folder).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    files = _list_files(url, folder)
    say(f"{name}: {len(files)} files from {url} to {folder}")
    stop = threading.Event()
    with ThreadPoolExecutor(THREADS) as pool:
        jobs = [pool.submit(_provide, file, stop) for file in files]
        try:
            fetched = sum(
                job.result()
                for job in progress(as_completed(jobs), total=len(jobs), title=name)
            )
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    say(
        f"{name}: fetched {fetched} files, {len(files) - fetched} were there already; all checked."
    )
    return folder


def _project(name: str) -> str:
    """Return project and version of a data set."""
    from ecgnb.data.catalog import CATALOG

    project = CATALOG.get(name).download
    if project is None:
        known = ", ".join(other for other in CATALOG if CATALOG.get(other).download)
        raise ConfigError(
            f"The data set {name!r} is not on PhysioNet. These can be downloaded: {known}."
        )
    return project


def _checked(base_url: str) -> str:
    if urllib.parse.urlsplit(base_url).scheme not in ("http", "https"):
        raise ConfigError(
            f"{base_url!r} is no web address. Give one that begins with https://."
        )
    return base_url.rstrip("/")


def _list_files(url: str, folder: Path) -> list[_File]:
    """Fetch the list of checksums and return the files in it."""
    with _named_errors(CHECKSUMS), atomic_write(folder / CHECKSUMS) as temporary:
        _gather(f"{url}/{CHECKSUMS}", temporary, threading.Event())
    files = {}
    for line in (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines():
        found = _LINE.match(line.strip())
        if found:
            relative = found[2].removeprefix("./")
            files[relative] = _file(url, folder, relative, found[1].lower())
    if not files:
        raise EcgnbError(
            f"{url}/{CHECKSUMS} lists no files. Check the address of the data set."
        )
    return list(files.values())


def _file(url: str, folder: Path, name: str, sha256: str) -> _File:
    """Return a file of the set; a name that leads out of the folder is refused."""
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith("/")
        or any(part == ".." or set(part) & set('\\:*?"<>|\0') for part in parts)
    ):
        raise EcgnbError(
            f"The list of checksums names the file {name!r}, which is no path inside a folder."
        )
    return _File(
        name, f"{url}/{urllib.parse.quote(name)}", folder.joinpath(*parts), sha256
    )


def _provide(file: _File, stop: threading.Event) -> bool:
    """Make sure that a file is there and whole; tell whether it had to be fetched."""
    if stop.is_set():
        return False
    with _named_errors(file.name):
        if file.target.is_file() and sha256_file(file.target) == file.sha256:
            return False
        file.target.parent.mkdir(parents=True, exist_ok=True)
        # A part from an earlier start may be of another version of the file: then once
        # more from the beginning.
        had_part = file.part.is_file()
        _gather(file.url, file.part, stop)
        if sha256_file(file.part) != file.sha256 and had_part:
            file.part.unlink()
            _gather(file.url, file.part, stop)
        found = sha256_file(file.part)
        if found != file.sha256:
            file.part.unlink()
            raise EcgnbError(
                f"{file.name} arrived with the SHA-256 {found[:12]}..., published is {file.sha256[:12]}.... It was not "
                "kept. Try again later; if it stays so, the file or its checksum is wrong at the source."
            )
        file.part.replace(file.target)
    return True


@contextlib.contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turn what the network and the disk say into our error with the file's name."""
    try:
        yield
    except urllib.error.HTTPError as error:
        raise EcgnbError(
            f"{name} cannot be fetched: {error.code} {error.reason} for {error.url}."
        ) from error
    except _UnfinishedError as error:
        raise EcgnbError(
            f"{name} cannot be fetched: {error}. Check the connection and start the download again; it is resumed."
        ) from error
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise EcgnbError(
                f"The disk is full: {name} could not be written. Make room and start the download again; it is resumed."
            ) from error
        raise EcgnbError(f"{name} cannot be written: {error}.") from error


def _gather(url: str, part: Path, stop: threading.Event) -> None:
    """Fetch what a partial file lacks, with as many attempts as bring something new."""
    failures = 0
    while True:
        before = _size(part)
        try:
            _attempt(url, part, stop)
            return
        except urllib.error.HTTPError as error:
            if error.code not in _WORTH_RETRYING:
                raise
            error.close()
            problem: Exception = error
        except _UnfinishedError as error:
            problem = error
        failures = 1 if _size(part) > before else failures + 1
        if failures >= ATTEMPTS or stop.wait(WAIT_S * 2 ** (failures - 1)):
            raise problem


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _attempt(url: str, part: Path, stop: threading.Event) -> None:
    """Ask once for what is missing, and write what comes."""
    have = _size(part)
    headers = {"User-Agent": "ecgnb", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            error.close()
            return  # nothing lies beyond what we have: it is whole, or of another version; the checksum tells
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _UnfinishedError(getattr(error, "reason", error)) from error
    with response:
        resumed = (
            response.status == 206
            and _begins_at(response.headers.get("Content-Range", "")) == have
        )
        if response.status == 206 and not resumed:
            part.unlink(missing_ok=True)
            raise _UnfinishedError(
                "the server sent another part of the file than was asked for"
            )
        expected = response.headers.get("Content-Length")
        _write(
            response,
            part,
            have if resumed else 0,
            int(expected) if expected else None,
            stop,
        )


def _begins_at(content_range: str) -> int | None:
    found = re.match(r"bytes (\d+)-", content_range)
    return int(found[1]) if found else None


def _write(
    response: http.client.HTTPResponse,
    part: Path,
    offset: int,
    expected: int | None,
    stop: threading.Event,
) -> None:
    arrived = 0
    with open(part, "ab" if offset else "wb") as file:
        while block := _read(response):
            file.write(block)
            arrived += len(block)
            if stop.is_set():
                raise _UnfinishedError("the download was stopped")
    if expected is not None and arrived < expected:
        raise _UnfinishedError(
            f"the connection ended after {offset + arrived} of {offset + expected} bytes"
        )


def _read(response: http.client.HTTPResponse) -> bytes:
    """Read a block; what fails here is the network, what fails beside it the disk."""
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _UnfinishedError(f"the connection broke: {error}") from error
