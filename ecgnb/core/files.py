"""Atomic writes, JSON, checksums and fingerprints."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgnb.core.errors import FileError

if TYPE_CHECKING:
    import pandas as pd


#: Name of a temporary file, with the id of the process that writes it.
_TEMPORARY = re.compile(r"\.tmp-(\d+)-[0-9a-f]{8}-")
#: Age in seconds from which a temporary file is a leftover, whoever wrote it.
LEFTOVER_AGE_S = 86_400

#: Error numbers of a full disk; a short write raises an OSError without a number.
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, None)


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to ``path`` when the block ends without an
    error.

    A reader sees the old file or the new one, never a partial one. When the block
    raises, the temporary file is removed and the old file stays as it was.

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
        _flush_to_disk(temporary)
        _set_default_permissions(temporary)
        _replace(temporary, path)
    except (FileNotFoundError, FileError):
        raise
    except OSError as error:
        raise _file_error(path, error) from error
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
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _file_error(folder, error) from error


def _file_error(path: Path, error: OSError) -> FileError:
    reason = error.strerror or str(error)
    advice = "Choose a folder where you may write, or change its permissions."
    if error.errno in DISK_FULL:
        advice = (
            "Make room on that disk and run the same again; what was finished before "
            "is kept."
        )
    return FileError(f"{path} cannot be written: {reason}. {advice}", error.errno)


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


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


def remove_leftovers(folder: str | Path) -> int:
    """Delete temporary files that a killed process left in ``folder`` or below.

    A file that another running process is writing is kept. On Windows, where a process
    cannot be looked up by its id alone, and for files of unknown origin, files older
    than a day are deleted.

    Returns:
        The number of deleted files.
    """
    deleted = 0
    for file in list(Path(folder).rglob(".tmp-*")):
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


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinities become null."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


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
    """Write a table as UTF-8 CSV without its index, atomically."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")


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
