"""Files that are either whole or absent: atomic writes, JSON, checksums and
fingerprints.
"""

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


#: Name of a temporary file, with the number of the process that writes it.
_TEMPORARY = re.compile(r"\.tmp-(\d+)-[0-9a-f]{8}-")
#: Age from which a temporary file is a leftover, whoever wrote it.
LEFTOVER_AGE_S = 86_400

#: What the system says where there is no room; a write that ends short without a number
#: is taken for the same.
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, None)


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its name when the block ends
    without an error.

    A reader sees the old file or the new one, never a part. When the block raises, the
    temporary file is removed and the old file stays as it was.

    Raises:
        FileError: the disk is full, or the folder may not be written in.

    >>> with atomic_write("notes.txt") as temporary:  # doctest: +SKIP
    ...     temporary.write_text("whole", encoding="utf-8")
    """
    path = Path(path)
    make_folder(path.parent)
    # The suffix stays last: numpy and torch look at it.
    temporary = path.with_name(f".tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        _flush_to_disk(temporary)
        _readable(temporary)
        _replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and not isinstance(
            error, FileNotFoundError | FileError
        ):
            raise _file_error(path, error) from error
        raise


def _readable(file: Path) -> None:
    """Give a file the permissions of any new one; safetensors writes for its owner
    alone.
    """
    example = file.with_name(f"{file.name}.mode")
    if os.name == "posix" and not file.stat().st_mode & 0o044:
        example.touch()
        file.chmod(example.stat().st_mode & 0o777)
        example.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing; `FileError` when that
    cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _file_error(folder, error) from error


def _file_error(path: Path, error: OSError) -> FileError:
    told = error.strerror or str(error)
    if error.errno in DISK_FULL:
        advice = "Make room on that disk and run the same again; what was finished before is kept."
    else:
        advice = "Choose a folder where you may write, or change its permissions."
    return FileError(f"{path} cannot be written: {told}. {advice}", error.errno)


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _replace(source: Path, target: Path, attempts: int = 5) -> None:
    """Rename over an existing file; on Windows a virus scanner or a reader may hold it
    for a moment.
    """
    for attempt in range(attempts):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if os.name != "nt" or attempt == attempts - 1:
                raise
            time.sleep(0.05 * 2**attempt)


def remove_leftovers(folder: str | Path) -> int:
    """Delete temporary files that a killed process left in ``folder`` or below; return
    how many were deleted.

    A file that another living process is writing stays. On Windows, where one cannot
    ask whether a process lives without a handle to it, and for files of unknown origin,
    only the age tells: a day.
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
    written_by = _TEMPORARY.match(file.name)
    # A file of our own number is ours and given up, or of an earlier process that had
    # the number before us.
    return written_by is not None and (
        (pid := int(written_by[1])) == os.getpid() or not _may_live(pid)
    )


def _may_live(pid: int) -> bool:
    if os.name == "nt":  # there os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it lives, and is another user's
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Tell whether a process has ended and nobody took note, as is common in
    containers; only Linux says so.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[:1] == ["Z"]


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as readable JSON, atomically; NaN and infinities become null, as
    JSON has none.
    """
    write_text(
        path,
        json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    )


def read_json(path: str | Path) -> Any:
    """Read a JSON file written in UTF-8."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


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
        _plain(value),
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
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Turn numpy scalars, tuples, paths and non-finite floats into what JSON knows."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):  # numpy scalar or array, pandas index
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
