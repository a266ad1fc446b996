"""Base class and registry of data sets, and what a search for recordings takes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ecgnb.core.registry import Registry
from ecgnb.data.labels.label_cells import UNIFIED

#: Why recordings are left out: the key in ``manifest.attrs`` without its ``n_``, and
#: the words for the user.
LEFT_OUT = {
    "absent": "whose files are not there",
    "withdrawn": "withdrawn by the authors",
    "duplicate": "that are copies of one with the same name",
    "foreign": "that belong to another data set",
}


@dataclass(frozen=True)
class Query:
    """Options of one search for recordings.

    Attributes:
        dataset: name of the data set.
        label_set: name of the label set.
        likelihood: least likelihood (0-100) of a statement that counts; PTB-XL only.
        target_fs: rate in Hz at which the signals will be used, for data sets at
            several rates; None: the highest.
        left_out: number of recordings left out, by the keys of `LEFT_OUT`; counted
            while the records are searched.
        not_understood: number of recordings by each code that is not understood.
    """

    dataset: str
    label_set: str
    likelihood: float = 0.0
    target_fs: float | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    not_understood: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Record:
    """One row of a manifest; ``labels`` in any order, other fields as in the table.

    Without labels the label is unknown; `NO_CLASS` among them states that the recording
    has no class but those named.
    """

    record_id: str
    path: Path
    labels: Iterable[str] = ()
    patient_id: str = ""
    fold: int | None = None
    fs: float = math.nan  # Hz
    n_samples: int | None = None
    leads: Sequence[str] = ()
    start: int = 0


def with_unified(**label_sets: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return label sets by their names, with ``unified`` as the last one."""
    return {**label_sets, "unified": UNIFIED}


class Dataset(ABC):
    """A data set. Subclasses state its facts and implement `records`.

    Their docstrings have the title, the publication to cite and the licence.

    Attributes:
        expects: content of its folder, for messages.
        label_sets: names of label sets mapped to their classes, in order; the first one
            is the default.
        is_labelled: whether its own files label the recordings.
        download: PhysioNet project and version, or None where PhysioNet does not have
            it.
        signature: glob pattern of a file by which its folder is recognised; "" for
            none.
    """

    expects: ClassVar[str]
    label_sets: ClassVar[dict[str, tuple[str, ...]]] = with_unified()
    is_labelled: ClassVar[bool] = True
    download: ClassVar[str | None] = None
    signature: ClassVar[str] = ""

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Return whether a folder looks like this data set."""
        return bool(cls.signature) and any(folder.glob(cls.signature))

    @abstractmethod
    def records(self, root: Path, query: Query) -> Iterable[Record]:
        """Yield the recordings in ``root``, in a fixed order."""


#: Every data set by its name.
CATALOG: Registry[type[Dataset]] = Registry("data set")


def unify(labels: Iterable[str], known: bool = True) -> tuple[str, ...]:
    """Return labels of the set `UNIFIED`.

    Args:
        labels: those of MI, AF, BBB and NORM that apply; other names are ignored.
        known: whether the data set states enough to call a recording without any of
            them OTHER.

    >>> unify(["NORM", "AF"]), unify([]), unify([], known=False)
    (('AF',), ('OTHER',), ())
    """
    labels = set(labels)
    abnormal = tuple([name for name in ("MI", "AF", "BBB") if name in labels])
    if abnormal:
        return abnormal
    if "NORM" in labels:
        return ("NORM",)
    return ("OTHER",) if known else ()
