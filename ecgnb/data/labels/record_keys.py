"""Names of one recording that are written differently: Windows paths, extensions,
``_lr``, leading zeros.

A name is compared in four ways, the strictest first. A looser way only counts where it
is unambiguous: where all recordings that it could mean are one file, and all rows of
the mapping that it could mean agree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

_EXTENSION = re.compile(
    r"\.(?:hea|dat|mat|npy|npz|csv|tsv|txt|edf|xml|dcm|h5|hdf5|json|wav|atr)$"
)
_RATE = re.compile(r"_[lh]r$")
_RATE_FOLDER = re.compile(r"(?<![^/])records(?:100|500)(?=/)")
_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


def clean(name: str) -> str:
    r"""Return a name in lower case with ``/``, without extension, rate (``_lr``,
    ``_hr``) and a leading ``./``.

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


def without_rate(name: str) -> str:
    """Return the id of a recording without the rate that tells copies at two rates
    apart.

    That is a ``_lr`` or ``_hr`` at its end, and before it the number of the folders
    ``records100`` and ``records500``.

    >>> without_rate("00001_lr"), without_rate("00001"), without_rate("records500/00001_hr")
    ('00001', '00001', 'records/00001')
    """
    return (
        _RATE_FOLDER.sub("records", name[:-3]) if _RATE.search(name.lower()) else name
    )


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
        ambiguous: bool, one a recording: whether all that was found means other
            recordings too, or is contradictory.
        used: bool, one a row of the mapping: whether it means one of the recordings.
    """

    row: np.ndarray
    how: np.ndarray
    ambiguous: np.ndarray
    used: np.ndarray


#: The ways in which names are compared, strictest first.
WAYS = ("name", "path", "file name", "leading zeros")


@dataclass(frozen=True)
class Groups:
    """Rows that share a key.

    Attributes:
        keys: the different keys.
        of_row: int64, one a row: position of its key.
        first: int64, one a key: its first row.
        agree: bool, one a key: whether all its rows have the same value.
    """

    keys: pd.Index
    of_row: np.ndarray
    first: np.ndarray
    agree: np.ndarray


def group(keys: Sequence[str] | np.ndarray, values: np.ndarray) -> Groups:
    """Group rows by key; ``values`` (int64, one a row) tells which rows say the
    same.
    """
    of_row, different = pd.factorize(pd.Series(keys, dtype=object))
    first = np.full(len(different), len(of_row), dtype=np.int64)
    np.minimum.at(first, of_row, np.arange(len(of_row)))
    agree = np.ones(len(different), dtype=bool)
    np.logical_and.at(agree, of_row, values == values[first[of_row]])
    return Groups(pd.Index(different), of_row, first, agree)


def match(
    ids: Sequence[str], paths: Sequence[str], names: Sequence[str], values: np.ndarray
) -> Matches:
    """Find for each recording the row of a mapping that means it.

    Args:
        ids: ids of the recordings.
        paths: their files; recordings with the same file are windows of one, and may
            share a row.
        names: names in the mapping, each once, as `clean` returns them.
        values: int64, one a name: what the mapping says of it; equal values do not
            contradict each other.
    """
    search = _Search(paths, values, len(ids), len(names))
    own = [clean(name) for name in ids]
    search.look("name", own, names)
    if search.done:
        return search.result()
    files = [clean(path) for path in paths]
    for depth in sorted({name.count("/") + 1 for name in names} - {1}, reverse=True):
        parts = [name if name.count("/") + 1 == depth else "" for name in names]
        search.look("path", [_tail(file, depth) for file in files], parts)
    ends = [last_part(name) for name in names]
    for keys in (own, files):
        if not search.done:
            search.look("file name", [last_part(name) for name in keys], ends)
    if not search.done:
        search.look(
            "leading zeros",
            [without_zeros(name) for name in own],
            [without_zeros(name) for name in ends],
        )
    return search.result()


def _tail(file: str, depth: int) -> str:
    parts = file.rsplit("/", depth)
    return "/".join(parts[-depth:]) if len(parts) >= depth else ""


class _Search:
    """Goes through the ways, each for the recordings that the stricter ones have not
    found.
    """

    def __init__(
        self, paths: Sequence[str], values: np.ndarray, n_records: int, n_rows: int
    ) -> None:
        self.file = pd.factorize(pd.Series(paths, dtype=object))[0]
        self.values = values
        self.row = np.full(n_records, -1, dtype=np.int64)
        self.how = np.full(n_records, "", dtype=object)
        self.ambiguous = np.zeros(n_records, dtype=bool)
        self.owner = np.full(
            n_rows, -1, dtype=np.int64
        )  # the file that a row of the mapping means
        self.used = np.zeros(n_rows, dtype=bool)

    @property
    def done(self) -> bool:
        """Whether every recording has its row and every row its recording."""
        return bool((self.row >= 0).all() and self.used.all())

    def look(self, way: str, keys: Sequence[str], names: Sequence[str]) -> None:
        """Look the recordings that are still open up among the names of the mapping."""
        at = np.flatnonzero(self.row < 0)
        groups = group(names, self.values)
        asked = pd.Series(keys, dtype=object).to_numpy()[at]
        found = groups.keys.get_indexer(pd.Index(asked, dtype=object))
        hit = (found >= 0) & (asked != "")
        at, found = at[hit], found[hit]
        # One file for all recordings of a key, and for all rows of it that a stricter
        # way has given away.
        lowest, highest = _range(found, self.file[at], len(groups.keys))
        taken = self.owner >= 0
        lowest_owner, highest_owner = _range(
            groups.of_row[taken], self.owner[taken], len(groups.keys)
        )
        one_file = np.minimum(lowest, lowest_owner) == np.maximum(
            highest, highest_owner
        )
        clear = (groups.agree & one_file)[found]
        self.ambiguous[at] = ~clear
        self.row[at[clear]] = groups.first[found[clear]]
        self.how[at[clear]] = way
        self.owner[self.row[at[clear]]] = self.file[at[clear]]
        self.used |= np.isin(groups.of_row, found)

    def result(self) -> Matches:
        """Return what was found."""
        return Matches(self.row, self.how, self.ambiguous & (self.row < 0), self.used)


def _range(
    groups: np.ndarray, values: np.ndarray, n_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest value (0 or more) of each group; of an empty
    one the largest int64 and -1.
    """
    lowest = np.full(n_groups, np.iinfo(np.int64).max)
    highest = np.full(n_groups, -1, dtype=np.int64)
    np.minimum.at(lowest, groups, values)
    np.maximum.at(highest, groups, values)
    return lowest, highest
