"""Files of a data set: search its folder, read the tables beside its recordings."""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ecgnb.core.errors import LabelError, ReadError
from ecgnb.core.progress import say
from ecgnb.core.transient import refuse_transient

_TABLES = Path(__file__).parent / "tables"
_HIDDEN = (".", "__MACOSX")


def walk(root: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return all files below ``root`` with one of the suffixes (lower case), sorted,
    without hidden ones.
    """
    suffixes = tuple(suffixes)
    paths = []
    for folder, name in _files(root):
        if name.lower().endswith(suffixes):
            paths.append(Path(folder, name))
    return sorted(paths, key=Path.as_posix)


def file_states(root: Path) -> list[tuple[str, int, int]]:
    """Return path, size and time of change (ns) of all files below ``root`` that are
    not hidden, sorted.
    """
    states = []
    for folder, name in _files(root):
        relative = f"{folder}/{name}"[len(str(root)) :]
        with contextlib.suppress(OSError):  # deleted meanwhile, or a broken link
            state = Path(folder, name).stat()
            states.append((relative, state.st_size, state.st_mtime_ns))
    return sorted(states)


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """Yield folder and name of all files below ``root`` that are not hidden."""
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_say_skipped):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        # in place: os.walk enters only what remains
        folders[:] = [name for name in folders if not name.startswith(_HIDDEN)]
        for name in names:
            if not name.startswith(_HIDDEN):
                yield folder, name


def _say_skipped(error: OSError) -> None:
    refuse_transient(error, error.filename)  # a smaller cohort is no way out
    # one locked folder must not stop the use of the others
    say(
        f"The folder {error.filename} cannot be read ({error.strerror}); recordings in "
        "it are left out."
    )


def anchor(root: Path, name: str, dataset: str) -> Path:
    """Return the only file called ``name`` in ``root``, else one level below, else one
    level above.

    Raises:
        ReadError: ``empty``, there is none; ``ambiguous``, two folders below have one.
    """
    if (root / name).is_file():
        return root / name
    below = []
    for path in sorted(root.glob(f"*/{name}")):
        if not path.parent.name.startswith(_HIDDEN):
            below.append(path)
    if len(below) > 1:
        folders = ", ".join([path.parent.as_posix() for path in below])
        raise ReadError(
            "ambiguous",
            f"{root} holds the data set {dataset} more than once. "
            f"Give one of {folders}.",
        )
    for path in (*below, root.parent / name):
        if path.is_file():
            return path
    raise ReadError(
        "empty",
        f"{root} is no folder of the data set {dataset}: there is no {name} in it.",
    )


def tables_beside(root: Path, pattern: str) -> list[Path]:
    """Return the files below ``root`` that match a glob pattern in any case, sorted;
    where there are none, those one level above.
    """
    paths = []
    for folder, name in _files(root):
        if fnmatch.fnmatchcase(name.lower(), pattern.lower()):
            paths.append(Path(folder, name))
    if not paths:
        for path in root.parent.iterdir():
            if (
                fnmatch.fnmatchcase(path.name.lower(), pattern.lower())
                and path.is_file()
            ):
                paths.append(path)
    return sorted(paths)


def read_table(path: Path, columns: Iterable[str] = (), **options: Any) -> pd.DataFrame:
    """Read a CSV table as text, empty cells as "".

    Raises:
        LabelError: the file is no CSV table, or lacks one of ``columns``.
    """
    try:
        table = pd.read_csv(
            path,
            dtype="str",
            keep_default_na=False,  # "NA" is text here
            encoding="utf-8-sig",
            **options,
        )
    except ValueError as error:
        raise LabelError(
            f"{path} cannot be read as a CSV table: {error}. Fetch it again."
        ) from error
    for name in columns:
        if name not in table.columns:
            raise LabelError(
                f"{path} has no column {name!r}, only "
                f"{', '.join(map(str, table.columns))}. Fetch it again."
            )
    return table


def own_table(name: str) -> pd.DataFrame:
    """Return a table of this package as text."""
    return read_table(_TABLES / name, comment="#")  # its source is in the first line
