"""Atomic writes, JSON, checksums and fingerprints."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import json
import math
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ecgnb.core.csv_cells import escape_cells
from ecgnb.core.errors import FileError
from ecgnb.core.transient import is_transient

if TYPE_CHECKING:
    import pandas as pd


T = TypeVar("T")

#: Name of a temporary file, with the id of the process that writes it.
_TEMPORARY = re.compile(r"\.tmp-(\d+)-[0-9a-f]{8}-")
#: Age in seconds from which a temporary file is a leftover, whoever wrote it.
LEFTOVER_AGE_S = 86_400

#: Age in seconds from which the times of a file show every further change: FAT counts
#: them in steps of two seconds, most others in milliseconds.
SETTLED_S = 2.0
#: Key of the checksum that a sealed JSON file holds of its other content.
SEAL = "checksum"

#: Results of `once_per_state`, by the function and its files, with their states.
_remembered: dict[Any, tuple[Any, Any]] = {}

#: Error numbers of a full disk; a short write raises an OSError without a number.
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, None)


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to ``path`` when the block ends without an
    error.

    A reader sees the old file or the new one, never a partial one. When the block
    raises, the temporary file is removed and the old file stays as it was. File and
    folder are flushed to the disk, so that after a power failure a file that was
    written later is never there without one that was written before.

    Raises:
        FileError: the disk is full, or the folder is not writable.

    >>> with atomic_write("notes.txt") as temporary:  # doctest: +SKIP
    ...     temporary.write_text("whole", encoding="utf-8")
    """
    path = Path(path)
    make_folder(path.parent)
    # The suffix stays last, because numpy and torch choose the format by it.
    temporary = path.with_name(f".tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        flush_file(temporary)
        _set_default_permissions(temporary)
        _replace(temporary, path)
        flush_folder(path.parent)
    except (FileNotFoundError, FileError):
        raise
    except OSError as error:
        raise file_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # it is gone after a success
            temporary.unlink()


def _set_default_permissions(file: Path) -> None:
    """Give a file the default permissions; safetensors makes it readable by its owner
    only.
    """
    example = file.with_name(f"{file.name}.mode")
    if os.name == "posix" and not file.stat().st_mode & 0o044:
        example.touch()
        file.chmod(example.stat().st_mode & 0o777)
        example.unlink()


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, where they are missing.

    Raises:
        FileError: the folder cannot be created.
    """
    try:
        if folder.is_dir():
            return
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
    except FileError:
        raise
    except OSError as error:
        raise file_error(folder, error) from error
    flush_folder(folder.parent)


def file_error(path: Path, error: OSError) -> FileError:
    """Return the error of a file that cannot be written, with what to do about it."""
    reason = error.strerror or str(error)
    advice = "Choose a folder where you may write, or change its permissions."
    if is_transient(error):
        advice = (
            "It may pass: check the disk or the network drive and run the same again."
        )
    elif error.errno in DISK_FULL:
        advice = (
            "Make room on that disk and run the same again; what was finished before "
            "is kept."
        )
    return FileError(f"{path} cannot be written: {reason}. {advice}", error.errno)


def flush_file(path: Path) -> None:
    """Write the bytes of a file to the disk itself, out of the system's memory."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can (not on Windows,
    nor on some network drives).
    """
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_file(path: Path) -> None:
    """Delete a file, if it exists, and flush its folder to the disk.

    The record of a result is removed so before the result is written anew.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise file_error(path, error) from error
    flush_folder(path.parent)


def _replace(source: Path, target: Path, attempts: int = 5) -> None:
    """Rename over an existing file, with retries on Windows, where a virus scanner or a
    reader may hold it for a moment.
    """
    for attempt in range(attempts):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if os.name != "nt" or attempt == attempts - 1:
                raise
            time.sleep(0.05 * 2**attempt)  # 50 ms, doubled each time


def remove_leftovers(folder: str | Path, below: bool = True) -> int:
    """Delete temporary files that a killed process left in ``folder``, and ``below``.

    A file that another running process is writing is kept. On Windows, where a process
    cannot be looked up by its id alone, and for files of unknown origin, files older
    than a day are deleted.

    Returns:
        The number of deleted files.
    """
    deleted = 0
    pattern = "**/.tmp-*" if below else ".tmp-*"
    for file in list(Path(folder).glob(pattern)):
        with contextlib.suppress(OSError):
            if _is_leftover(file):
                file.unlink()
                deleted += 1
    return deleted


def _is_leftover(file: Path) -> bool:
    if time.time() - file.stat().st_mtime > LEFTOVER_AGE_S:
        return True
    match = _TEMPORARY.match(file.name)
    if match is None:
        return False
    # A file with the id of this process was given up, or is from an earlier process
    # with the same id.
    process_id = int(match[1])
    return process_id == os.getpid() or not _may_be_running(process_id)


def _may_be_running(pid: int) -> bool:
    if os.name == "nt":  # os.kill would end the process there
        return True
    try:
        os.kill(pid, 0)  # signal 0 only checks
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is running, for another user
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Return whether a process has ended but was not reaped, as is common in
    containers (Linux only).
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    # pid (command) state ...; the command may contain spaces and parentheses
    return state.rpartition(")")[2].split()[:1] == ["Z"]


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any, indent: int | None = 2) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinities become null."""
    text = json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_sealed(
    path: str | Path, content: dict[str, Any], indent: int | None = 2
) -> None:
    """Write a JSON object together with a checksum of itself, atomically."""
    write_json(path, seal(content), indent)


def read_sealed(path: str | Path) -> dict[str, Any]:
    """Read what `write_sealed` wrote, without the checksum.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged: no JSON object, or not the one that was written.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, no object")
    require_seal(content)
    del content[SEAL]
    return content


def seal(content: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the checksum of its other content."""
    unsealed = {name: value for name, value in content.items() if name != SEAL}
    return {**unsealed, SEAL: fingerprint(unsealed, 64)}


def require_seal(content: dict[str, Any]) -> None:
    """Raise a `ValueError` when the content is not the one that was sealed."""
    if seal(content)[SEAL] != content.get(SEAL):
        raise ValueError("its content is not the one that was written")


def read_json(path: str | Path) -> Any:
    """Read a JSON file written in UTF-8."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_dict(path: str | Path) -> dict[str, Any]:
    """Read a small JSON file, {} where it is missing, damaged or no object."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as UTF-8 CSV without its index, atomically.

    Text that a spreadsheet would execute is escaped; `ecgnb.core.csv_cells` restores
    it.
    """
    escaped = escape_cells(table)
    text = escaped.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # would end a row, but is not quoted without being asked
        text = escaped.to_csv(
            index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC
        )
    write_text(path, text)


def fingerprint(value: Any, length: int = 12) -> str:
    """Return the first ``length`` hex digits of the SHA-256 of ``value`` as canonical
    JSON.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(
        plain(value),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):  # 1 MiB
            digest.update(block)
    return digest.hexdigest()


def once_per_state(function: Callable[..., T], *paths: Path) -> T:
    """Return ``function(*paths)``, computed once in this process for each state of
    these files: their sizes, times and numbers on the disk.

    Checksums of large files are computed so; every call costs two microseconds.
    """
    states = [_file_state(path) for path in paths]
    key = (function, *paths)
    if key in _remembered and _remembered[key][0] == states:
        return _remembered[key][1]
    result = function(*paths)
    newest = max(times[0] for *_, times in states) / 1e9  # s
    # The times of a file that has just been written may not show another change.
    if time.time() - newest > SETTLED_S:
        _remembered[key] = (states, result)
    return result


def describe_file(path: Path) -> dict[str, Any]:
    """Return ``bytes`` and ``sha256`` of a file, for `damage_of`."""
    checksum = once_per_state(sha256_file, path)
    return {"bytes": path.stat().st_size, "sha256": checksum}


def damage_of(path: Path, described: Mapping[str, Any]) -> str:
    """Return what is wrong with a file that `describe_file` described, "" for nothing.

    It reads a file once per process (0.7 s per GB), and again when it changes.
    """
    if not path.is_file():
        return f"{path} is missing"
    size = path.stat().st_size
    if size != described["bytes"]:
        return f"{path} has {size} bytes in place of {described['bytes']}"
    if once_per_state(sha256_file, path) != described["sha256"]:
        return f"{path} is damaged (its checksum differs)"
    return ""


def _file_state(path: Path) -> tuple[int, int, tuple[int, int]]:
    """Return number on the disk, size, and times in ns of modification and of any
    change (which no program can set).
    """
    status = path.stat()
    return status.st_ino, status.st_size, (status.st_mtime_ns, status.st_ctime_ns)


def plain(value: Any) -> Any:
    """Return ``value`` in the types of JSON: numpy scalars and arrays, tuples, paths
    and non-finite floats are converted.
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):  # numpy scalar or array, pandas index
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
