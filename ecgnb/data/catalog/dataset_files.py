"""The files of a data set: walking its folder, and finding the tables beside its
recordings.
"""

from __future__ import annotations

import csv
import fnmatch
import functools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from ecgnb.core.errors import LabelError, ReadError
from ecgnb.core.progress import say

_TABLES = Path(__file__).parent / "tables"


@functools.cache
def own_table(name: str) -> tuple[dict[str, str], ...]:
    """Return the rows of one of the package's own tables, by their column names."""
    with open(_TABLES / name, encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(line for line in file if not line.startswith("#")))


def walk(root: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return all files below ``root`` with one of the suffixes (lower case), sorted;
    hidden ones are passed over.
    """
    wanted = tuple(suffixes)
    found = [
        Path(folder, name)
        for folder, name in _files(root)
        if name.lower().endswith(wanted)
    ]
    return sorted(found, key=lambda path: path.as_posix())


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """Yield folder and name of all files that are not hidden."""
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_tell):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not _is_hidden(name)]
        yield from [(folder, name) for name in names if not _is_hidden(name)]


def _tell(error: OSError) -> None:
    """Say that a folder is passed over; one locked folder on a disk must not keep the
    others from being used.
    """
    say(
        f"The folder {error.filename} cannot be read ({error.strerror}); recordings in it are left out."
    )


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def anchor(root: Path, name: str, dataset: str) -> Path:
    """Return the one file called ``name`` in ``root``, else one level below, else one
    level above.

    Raises:
        ReadError: ``empty``, when there is none; ``ambiguous``, when two folders below
            have one.
    """
    if (root / name).is_file():
        return root / name
    below = sorted(
        path for path in root.glob(f"*/{name}") if not _is_hidden(path.parent.name)
    )
    if len(below) > 1:
        folders = ", ".join(path.parent.as_posix() for path in below)
        raise ReadError(
            "ambiguous",
            f"{root} holds the data set {dataset} more than once. Give one of {folders}.",
        )
    if below:
        return below[0]
    if (root.parent / name).is_file():
        return root.parent / name
    raise ReadError(
        "empty",
        f"{root} is no folder of the data set {dataset}: there is no {name} in it.",
    )


def tables_beside(root: Path, pattern: str) -> list[Path]:
    """Return the files below ``root`` that match a glob pattern; where there are none,
    those one level above.
    """
    inside = [
        Path(folder, name)
        for folder, name in _files(root)
        if fnmatch.fnmatchcase(name, pattern)
    ]
    return sorted(
        inside or [path for path in root.parent.glob(pattern) if path.is_file()]
    )


def read_table(
    path: Path, columns: Iterable[str] = (), **options: object
) -> pd.DataFrame:
    """Read a CSV table as text, empty cells as ""; without one of ``columns`` it is a
    ``LabelError``.
    """
    try:
        table = pd.read_csv(
            path, dtype="str", keep_default_na=False, encoding="utf-8-sig", **options
        )  # type: ignore[call-overload]
    except (ValueError, UnicodeDecodeError) as error:
        raise LabelError(
            f"{path} cannot be read as a CSV table: {error}. Fetch it again."
        ) from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns))
        raise LabelError(
            f"{path} has no column {missing[0]!r}, only {found}. Fetch it again."
        )
    return table
