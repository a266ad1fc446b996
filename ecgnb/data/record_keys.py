"""Names of one recording that are written differently: Windows paths, extensions, ``_lr``, leading zeros.

A name is compared in four ways, the strictest first. A looser way only counts where it is unambiguous: where all
recordings that it could mean are one file, and all rows of the mapping that it could mean agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_EXTENSION = re.compile(r"\.(?:hea|dat|mat|npy|npz|csv|tsv|txt|edf|xml|dcm|h5|hdf5|json|wav|atr)$")
_RATE = re.compile(r"_[lh]r$")
_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


def clean(name: str) -> str:
    r"""Return a name in lower case with ``/``, without extension, rate (``_lr``, ``_hr``) and a leading ``./``.

    >>> clean(r"records100\00000\00001_LR.hea"), clean("./A0001.mat")
    ('records100/00000/00001', 'a0001')
    """
    text = name.strip().lower()
    if "\\" in text:
        text = text.replace("\\", "/")
    if "." in text:
        text = _EXTENSION.sub("", text).removeprefix("./")
    if text.endswith("r"):
        text = _RATE.sub("", text)
    return text.strip("/")


def last_part(name: str) -> str:
    """Return a clean name without its folders."""
    return name.rsplit("/", 1)[-1]


def without_zeros(name: str) -> str:
    """Return the last part of a clean name without the leading zeros of its numbers.

    >>> without_zeros("records100/00000/00001"), without_zeros("hr00599")
    ('1', 'hr599')
    """
    return _ZEROS.sub("", last_part(name))


@dataclass(frozen=True)
class Matches:
    """Which row of a mapping belongs to which recording.

    Attributes:
        row: int64, one a recording: row of the mapping, -1 for none.
        how: one a recording: the way in which it was found, see `WAYS`, or "".
        ambiguous: bool, one a recording: whether all that was found means other recordings too, or is contradictory.
        used: bool, one a row of the mapping: whether it means one of the recordings.
    """

    row: np.ndarray
    how: np.ndarray
    ambiguous: np.ndarray
    used: np.ndarray


#: The ways in which names are compared, strictest first.
WAYS = ("name", "path", "file name", "leading zeros")


def match(ids: Sequence[str], paths: Sequence[str], names: Sequence[str], values: Sequence[object]) -> Matches:
    """Find for each recording the row of a mapping that means it.

    Args:
        ids: ids of the recordings.
        paths: their files; recordings with the same file are windows of one, and may share a row.
        names: names in the mapping, each once, as `clean` returns them.
        values: what the mapping says of them; rows with equal values do not contradict each other.
    """
    search = _Search(paths, values, len(ids), len(names))
    own = [clean(name) for name in ids]
    search.look("name", own, names)
    if search.done:
        return search.result()
    depths = sorted({name.count("/") + 1 for name in names} - {1}, reverse=True)
    for depth in depths:
        parts = [name if name.count("/") + 1 == depth else "" for name in names]
        search.look("path", [_tail(path, depth) for path in paths], parts)
    ends = [last_part(name) for name in names]
    search.look("file name", [last_part(name) for name in own], ends)
    search.look("file name", [last_part(clean(path)) for path in paths], ends)
    search.look("leading zeros", [without_zeros(name) for name in own], [without_zeros(name) for name in ends])
    return search.result()


def _tail(path: str, depth: int) -> str:
    parts = clean(path).split("/")
    return "/".join(parts[-depth:]) if len(parts) >= depth else ""


class _Search:
    """Goes through the ways, each for the recordings that the stricter ones have not found."""

    def __init__(self, paths: Sequence[str], values: Sequence[object], n_records: int, n_rows: int) -> None:
        self.paths, self.values = paths, values
        self.row = np.full(n_records, -1, dtype=np.int64)
        self.how = np.full(n_records, "", dtype=object)
        self.ambiguous = np.zeros(n_records, dtype=bool)
        self.owner: dict[int, str] = {}  # row of the mapping -> the file that it means
        self.hit: set[int] = set()
        self.n_rows = n_rows

    @property
    def done(self) -> bool:
        """Whether every recording has its row and every row its recording."""
        return bool((self.row >= 0).all()) and len(self.hit) == self.n_rows

    def look(self, way: str, keys: Sequence[str], names: Iterable[str]) -> None:
        """Look the recordings that are still open up among the names of the mapping."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            rows.setdefault(name, []).append(row)
        rows.pop("", None)
        found = {index: rows[keys[index]] for index in np.flatnonzero(self.row < 0).tolist() if keys[index] in rows}
        owners: dict[str, set[str]] = {}
        for index in found:
            owners.setdefault(keys[index], set()).add(self.paths[index])
        for index, candidates in found.items():
            self.hit.update(candidates)
            # A row that a stricter way gave to another file means that one.
            taken = {self.owner[row] for row in candidates if row in self.owner} - {self.paths[index]}
            agree = all(self.values[row] == self.values[candidates[0]] for row in candidates[1:])
            self.ambiguous[index] = bool(taken) or not agree or len(owners[keys[index]]) > 1
            if not self.ambiguous[index]:
                self.row[index], self.how[index] = candidates[0], way
        self.owner.update({int(self.row[index]): self.paths[index] for index in found if self.row[index] >= 0})

    def result(self) -> Matches:
        """Return what was found."""
        used = np.zeros(self.n_rows, dtype=bool)
        used[list(self.hit)] = True
        return Matches(self.row, self.how, self.ambiguous & (self.row < 0), used)
