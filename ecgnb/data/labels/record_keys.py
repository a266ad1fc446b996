"""Match record names that are spelt differently: paths, extensions, rates, zeros.

Names are compared in four ways, the strictest first (`WAYS`). A looser way counts only
where it is unambiguous: where all recordings of a name are one file, and all rows of
the mapping with that name agree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ecgnb.data.readers.base import reader_for_suffix

#: How names are compared, strictest first.
WAYS = ("name", "path", "file name", "leading zeros")

#: Extensions that label files write, besides those of the registered readers.
_MORE_SUFFIXES = frozenset(
    {".dat", ".atr", ".edf", ".xml", ".dcm", ".h5", ".hdf5", ".json", ".wav"}
)
_RATE = re.compile(r"_[lh]r$")  # PTB-XL: 100 Hz (low rate), 500 Hz (high rate)
_RATE_FOLDER = re.compile(r"(?<![^/])records(?:100|500)(?=/)")
_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


def clean(name: str) -> str:
    r"""Return a name in lower case with ``/``, without extension, rate (``_lr``,
    ``_hr``) and a leading ``./``.

    >>> clean(r"records100\00000\00001_LR.hea"), clean("./A0001.mat")
    ('records100/00000/00001', 'a0001')
    """
    text = name.strip().lower().replace("\\", "/")
    stem, dot, extension = text.rpartition(".")
    suffix = dot + extension
    if dot and (suffix in _MORE_SUFFIXES or reader_for_suffix(suffix)):
        text = stem
    return _RATE.sub("", text.removeprefix("./")).strip("/")


def without_rate(name: str) -> str:
    """Return a record id without the rate that distinguishes copies at two rates.

    That is a ``_lr`` or ``_hr`` at its end, and before it the number of the folders
    ``records100`` and ``records500``.

    >>> without_rate("00001_lr"), without_rate("records500/00001_hr")
    ('00001', 'records/00001')
    """
    if not _RATE.search(name.lower()):
        return name
    return _RATE_FOLDER.sub("records", name[: -len("_lr")])


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
class Groups:
    """Rows that share a key.

    Attributes:
        keys: the distinct keys.
        of_row: int64, one per row: position of its key.
        first: int64, one per key: its first row.
        agree: bool, one per key: whether all its rows have the same value.
    """

    keys: pd.Index
    of_row: np.ndarray
    first: np.ndarray
    agree: np.ndarray


def group(keys: Sequence[str] | np.ndarray, values: np.ndarray) -> Groups:
    """Group rows by key, and compare the values (int64, one per row) of each group."""
    of_row, distinct = pd.factorize(pd.Series(keys, dtype=object))
    first = np.full(len(distinct), len(of_row), dtype=np.int64)
    np.minimum.at(first, of_row, np.arange(len(of_row)))
    agree = np.ones(len(distinct), dtype=bool)
    np.logical_and.at(agree, of_row, values == values[first[of_row]])
    return Groups(pd.Index(distinct), of_row, first, agree)


class Matches:
    """Which row of a mapping belongs to which recording.

    Attributes:
        row: int64, one per recording: row of the mapping, -1 for none.
        how: one per recording: one of `WAYS`, or "".
        ambiguous: bool, one per recording: whether its name matches rows, but these
            match other files too or contradict each other.
        used: bool, one per row of the mapping: whether it matches a recording.
    """

    def __init__(self, paths: Sequence[str], values: np.ndarray) -> None:
        self.row = np.full(len(paths), -1, dtype=np.int64)
        self.how = np.full(len(paths), "", dtype=object)
        self.ambiguous = np.zeros(len(paths), dtype=bool)
        self.used = np.zeros(len(values), dtype=bool)
        self._file = pd.factorize(pd.Series(paths, dtype=object))[0]
        self._values = values
        self._file_of_row = np.full(len(values), -1, dtype=np.int64)

    @property
    def complete(self) -> bool:
        """Whether every recording has its row and every row its recording."""
        return bool((self.row >= 0).all() and self.used.all())

    def add(self, way: str, keys: Sequence[str], names: Sequence[str]) -> None:
        """Match recordings without a row by their keys (one per recording) to names.

        Args:
            way: one of `WAYS`.
            keys: one per recording, "" for none.
            names: one per row of the mapping.
        """
        groups = group(names, self._values)
        recordings = np.flatnonzero(self.row < 0)
        open_keys = np.asarray(keys, dtype=object)[recordings]
        key_index = groups.keys.get_indexer(pd.Index(open_keys, dtype=object))
        has_key = (key_index >= 0) & (open_keys != "")
        recordings, key_index = recordings[has_key], key_index[has_key]
        # A key is unambiguous when all its recordings are one file, and its rows are
        # free or belong to that file by a stricter way.
        taken = self._file_of_row >= 0
        one_file = _are_equal(
            np.concatenate([key_index, groups.of_row[taken]]),
            np.concatenate([self._file[recordings], self._file_of_row[taken]]),
            len(groups.keys),
        )
        clear = (groups.agree & one_file)[key_index]
        self.ambiguous[recordings] = ~clear
        matched, rows = recordings[clear], groups.first[key_index[clear]]
        self.row[matched] = rows
        self.how[matched] = way
        self._file_of_row[rows] = self._file[matched]
        self.used |= np.isin(groups.of_row, key_index)


def _are_equal(groups: np.ndarray, values: np.ndarray, n_groups: int) -> np.ndarray:
    """Return for each group whether all its values (0 or more) are equal; bool."""
    lowest = np.full(n_groups, np.iinfo(np.int64).max)
    highest = np.full(n_groups, -1, dtype=np.int64)
    np.minimum.at(lowest, groups, values)
    np.maximum.at(highest, groups, values)
    return lowest == highest


def match(
    ids: Sequence[str], paths: Sequence[str], names: Sequence[str], values: np.ndarray
) -> Matches:
    """Find for each recording its row of a mapping.

    Args:
        ids: ids of the recordings.
        paths: their files; recordings with the same file are windows of it, and may
            share a row.
        names: distinct names in the mapping, as `clean` returns them.
        values: int64, one per name: a code of its label; rows of equal values do not
            contradict each other.
    """
    matches = Matches(paths, values)
    clean_ids = [clean(name) for name in ids]
    matches.add("name", clean_ids, names)
    if matches.complete:
        return matches
    files = [clean(path) for path in paths]
    depths = {name.count("/") for name in names} - {0}
    for depth in sorted(depths, reverse=True):
        parts = [name if name.count("/") == depth else "" for name in names]
        matches.add("path", [_path_end(file, depth) for file in files], parts)
    file_names = [last_part(name) for name in names]
    for keys in (clean_ids, files):
        matches.add("file name", [last_part(key) for key in keys], file_names)
    matches.add(
        "leading zeros",
        [without_zeros(name) for name in clean_ids],
        [without_zeros(name) for name in file_names],
    )
    return matches


def _path_end(path: str, n_folders: int) -> str:
    """Return a file with its last folders, "" where it has fewer."""
    parts = path.split("/")
    return "/".join(parts[-n_folders - 1 :]) if len(parts) > n_folders else ""
