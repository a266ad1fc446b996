"""Download an open data set from PhysioNet, resumed and checked file by file."""

from __future__ import annotations

import re
import threading
import urllib.parse
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path, PurePosixPath

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.progress import progress, say
from ecgnb.data.catalog.base import CATALOG
from ecgnb.hub.download import PART, download_file

BASE_URL = "https://physionet.org/files"
CHECKSUMS = "SHA256SUMS.txt"

#: Parallel requests; PhysioNet requests moderation.
THREADS = 4

_LINE = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(.+)")  # as sha256sum writes it
_FORBIDDEN = set('\\:*?"<>|\0')  # in a file name on Windows


def download(name: str, folder: str | Path, *, base_url: str | None = None) -> Path:
    """Download a data set into a folder.

    Complete files are not fetched again and an interrupted file is continued, so a
    download that stopped is resumed by starting it again. A file takes its name only
    when its SHA-256 is the published one.

    Args:
        name: data set of the catalogue.
        folder: target; made where it is missing.
        base_url: URL of the folder of data sets; None for PhysioNet.

    Returns:
        The folder.

    Raises:
        ConfigError: the data set is unknown or not on PhysioNet, or ``base_url`` is no
            web address.
        EcgnbError: a file cannot be fetched or is not the published one, or the disk is
            full.
    """
    base_url = (base_url or BASE_URL).rstrip("/")
    if urllib.parse.urlsplit(base_url).scheme not in ("http", "https"):
        raise ConfigError(
            f"{base_url!r} is no web address. Give one that begins with https://."
        )
    project = CATALOG.get(name).download  # "ptb-xl/1.0.3"
    if project is None:
        known = [other for other in CATALOG if CATALOG.get(other).download]
        raise ConfigError(
            f"The data set {name!r} is not on PhysioNet. These can be downloaded: "
            f"{', '.join(known)}."
        )
    url = f"{base_url}/{project}"
    folder = Path(folder).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    checksums = _fetch_checksums(url, folder)
    say(f"{name}: {len(checksums)} files from {url} to {folder}")
    suffix = _part_suffix(checksums)
    stop = threading.Event()
    with ThreadPoolExecutor(THREADS) as pool:
        jobs = []
        for file, checksum in checksums.items():
            job = pool.submit(
                download_file,
                f"{url}/{urllib.parse.quote(file)}",
                folder / file,
                name=file,
                checksum=checksum,
                stop=stop,
                part_suffix=suffix,
            )
            jobs.append(job)
        n_fetched = 0
        try:
            for job in progress(as_completed(jobs), total=len(jobs), title=name):
                n_fetched += job.result()
        except BaseException:  # also Ctrl-C: no thread goes on downloading
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    say(
        f"{name}: fetched {n_fetched} files, {len(jobs) - n_fetched} were complete "
        "already; all checked."
    )
    return folder


def _part_suffix(files: Iterable[str]) -> str:
    """Return a suffix for incomplete files with which none has the name of another
    file, such as ``x.part`` beside ``x``.
    """
    names = {file.lower() for file in files}
    suffix = PART
    while any(name + suffix in names for name in names):
        suffix = f".ecgnb{suffix}"
    return suffix


def _fetch_checksums(url: str, folder: Path) -> dict[str, str]:
    """Fetch the list of checksums; return SHA-256 by file name."""
    download_file(f"{url}/{CHECKSUMS}", folder / CHECKSUMS)
    checksums = {}
    for line in (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines():
        match = _LINE.fullmatch(line.strip())
        if line.strip() and not match:
            raise EcgnbError(
                f"{url}/{CHECKSUMS} has a line {line.strip()[:80]!r}, which is no "
                "checksum with the name of a file: the list did not arrive complete. "
                "Run the same again."
            )
        if match:
            file = match[2].removeprefix("./")
            parts = PurePosixPath(file).parts
            leads_out = file.startswith("/") or ".." in parts
            if not parts or leads_out or _FORBIDDEN & set(file):
                raise EcgnbError(
                    f"The list of checksums names the file {file!r}, which is no path "
                    "inside a folder."
                )
            checksums[file] = match[1].lower()
    if not checksums:
        raise EcgnbError(
            f"{url}/{CHECKSUMS} lists no files. Check the address of the data set."
        )
    return checksums
