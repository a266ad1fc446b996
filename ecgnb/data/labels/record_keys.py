"""Match record names that are spelt differently: paths, extensions, rates, zeros.

Names are compared in four ways, the strictest first (`WAYS`), and letter by letter
before that. A looser way counts only where it is unambiguous: where all recordings of a
name are one file, and all rows of the mapping with that name agree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ecgnb.data.cell_text import without_decimals
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
    relative = text.removeprefix("./")
    return _RATE.sub("", relative).strip("/")


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
    """Return the last part of a clean name without the leading zeros of its numbers,
    and a whole number without its decimals.

    >>> without_zeros("records100/00000/00001"), without_zeros("hr00599")
    ('1', 'hr599')
    >>> without_zeros("1.0")
    '1'
    """
    return _ZEROS.sub("", without_decimals(last_part(name)))


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
    # keys are numbered in the order of their first rows
    is_repeated = pd.Series(of_row).duplicated()
    first = np.flatnonzero(~is_repeated)
    first_values = values[first]  # int64, one per key
    differs = values != first_values[of_row]
    agree = np.ones(len(distinct), dtype=bool)
    agree[of_row[differs]] = False
    return Groups(pd.Index(distinct), of_row, first, agree)


class Matches:
    """Which row of a mapping belongs to which recording.

    Args:
        paths: files of the recordings.
        values: int64, one per row: a code of its label.

    Attributes:
        row: int64, one per recording: row of the mapping, -1 for none.
        how: one per recording: one of `WAYS`, or "".
        ambiguous: bool, one per recording: whether its name matches rows, but these
            match other files too or contradict each other.
        used: bool, one per row of the mapping: whether it matches a recording.
    """

    def __init__(self, paths: Sequence[str], values: np.ndarray) -> None:
        n_records, n_rows = len(paths), len(values)
        self.row = np.full(n_records, -1, dtype=np.int64)
        self.how = np.full(n_records, "", dtype=object)
        self.ambiguous = np.zeros(n_records, dtype=bool)
        self.used = np.zeros(n_rows, dtype=bool)
        self._file, _ = pd.factorize(pd.Series(paths, dtype=object))
        self._file_of_row = np.full(n_rows, -1, dtype=np.int64)
        self._values = values

    def add(
        self, way: str, keys: Sequence[str], names: Sequence[str] | np.ndarray
    ) -> None:
        """Match recordings without a row by their keys (one per recording) to names.

        Args:
            way: one of `WAYS`.
            keys: one per recording, "" for none.
            names: one per row of the mapping.
        """
        groups = group(names, self._values)
        recordings = np.flatnonzero(self.row < 0)
        open_keys = np.asarray(keys, dtype=object)[recordings]
        # position of each recording's key among the names, -1 for none
        key_index = groups.keys.get_indexer(pd.Index(open_keys, dtype=object))
        has_key = (key_index >= 0) & (open_keys != "")
        recordings = recordings[has_key]
        key_index = key_index[has_key]
        # A key is unambiguous when all its recordings are one file, and its rows are
        # free or belong to that file by a stricter way.
        taken = self._file_of_row >= 0
        files = np.concatenate([self._file[recordings], self._file_of_row[taken]])
        keys_of_files = np.concatenate([key_index, groups.of_row[taken]])
        n_files = pd.Series(files).groupby(keys_of_files).nunique()
        has_one_file = n_files.reindex(key_index).to_numpy() == 1
        clear = groups.agree[key_index] & has_one_file
        self.ambiguous[recordings] = ~clear  # a looser way may still decide
        matched = recordings[clear]
        rows = groups.first[key_index[clear]]
        self.row[matched] = rows
        self.how[matched] = way
        self._file_of_row[rows] = self._file[matched]
        self.used |= np.isin(groups.of_row, key_index)


def match(
    ids: Sequence[str],
    paths: Sequence[str],
    names: Sequence[str],
    values: np.ndarray,
    exact_names: Sequence[str] = (),
) -> Matches:
    """Find for each recording its row of a mapping.

    Args:
        ids: ids of the recordings.
        paths: their files; recordings with the same file are windows of it, and may
            share a row.
        names: names in the mapping, as `clean` returns them.
        values: int64, one per name: a code of its label; rows of equal values do not
            contradict each other.
        exact_names: names in the mapping as written; without them only ``names`` are
            compared.
    """
    matches = Matches(paths, values)
    if len(exact_names):
        matches.add("name", ids, exact_names)
    clean_ids = list(map(clean, ids))
    # further rows of a recording that is matched exactly are in use as well
    matches.used |= pd.Series(names, dtype=object).isin(clean_ids).to_numpy()
    matches.add("name", clean_ids, names)
    if (matches.row >= 0).all() and matches.used.all():
        return matches
    files = list(map(clean, paths))
    folders_of_name = pd.Series(names, dtype=object).str.count("/")
    depths = set(folders_of_name) - {0}
    for n_folders in sorted(depths, reverse=True):  # the longest path is the strictest
        ends = []
        for file in files:
            parts = file.split("/")
            is_deep = len(parts) > n_folders
            ends.append("/".join(parts[-n_folders - 1 :]) if is_deep else "")
        deep_names = np.where(folders_of_name == n_folders, names, "")
        matches.add("path", ends, deep_names)
    file_names = list(map(last_part, names))
    for texts in (clean_ids, files):
        matches.add("file name", list(map(last_part, texts)), file_names)
    short_ids = list(map(without_zeros, clean_ids))
    short_names = list(map(without_zeros, names))
    matches.add("leading zeros", short_ids, short_names)
    return matches
