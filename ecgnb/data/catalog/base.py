"""Base class and registry of data sets: facts, label sets, and their manifests."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pandas as pd

from ecgnb.core.errors import ConfigError, LabelError, ReadError
from ecgnb.core.progress import say
from ecgnb.core.registry import Registry, did_you_mean
from ecgnb.data.manifest import as_manifest
from ecgnb.data.signal.leads import STANDARD_12

#: The label set that every data set has, so that cohorts can be joined: myocardial
#: infarction (acute or old), atrial fibrillation (not flutter), bundle branch block
#: (complete or incomplete, left or right), a normal electrocardiogram, and anything
#: else. A recording with one of the first three is never NORM; OTHER is always alone.
UNIFIED = ("MI", "AF", "BBB", "NORM", "OTHER")

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
        label_set: name of the label set.
        likelihood: least likelihood (0-100) of a statement that counts; PTB-XL only.
        target_fs: rate in Hz at which the signals will be used, for data sets at
            several rates; None: the highest.
        left_out: number of recordings left out, by the keys of `LEFT_OUT`; counted
            while the records are searched.
    """

    label_set: str
    likelihood: float = 0.0
    target_fs: float | None = None
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Record:
    """One row of a manifest; ``labels`` in any order, other fields as in the table."""

    record_id: str
    path: Path
    labels: Iterable[str] = ()
    patient_id: str = ""
    fold: int | None = None
    fs: float = math.nan
    n_samples: int | None = None
    leads: Sequence[str] = ()
    start: int = 0


class Dataset(ABC):
    """A data set. Subclasses state its facts and implement `records`.

    Attributes:
        name: name in the catalogue.
        title: full name.
        licence: licence of the recordings.
        citation: publication to cite.
        expects: content of its folder, for messages.
        leads: its usual leads, in the order of its files.
        fs: its usual sampling rate in Hz, NaN where there is none.
        label_sets: names of label sets mapped to their classes, in order.
        default_label_set: its natural label set.
        official_folds: whether its authors recommend a split (column ``fold``).
        download: PhysioNet project and version, or None where PhysioNet does not have
            it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    licence: ClassVar[str]
    citation: ClassVar[str]
    expects: ClassVar[str]
    leads: ClassVar[tuple[str, ...]] = STANDARD_12
    fs: ClassVar[float] = 500.0
    label_sets: ClassVar[dict[str, tuple[str, ...]]] = {"unified": UNIFIED}
    default_label_set: ClassVar[str] = "unified"
    official_folds: ClassVar[bool] = False
    download: ClassVar[str | None] = None

    @abstractmethod
    def records(self, root: Path, query: Query) -> Iterable[Record]:
        """Yield the recordings in ``root``, in a fixed order."""

    def find(
        self,
        root: str | Path,
        *,
        label_set: str | None = None,
        likelihood: float = 0.0,
        target_fs: float | None = None,
    ) -> pd.DataFrame:
        """Return the manifest of the recordings in a folder.

        Args:
            root: the data set's folder, or one level above or below it.
            label_set: one of `label_sets`; None for the default one.
            likelihood: least likelihood (0-100) of a statement that counts; only PTB-XL
                states any.
            target_fs: rate in Hz at which the signals will be used, for data sets at
                several rates.

        Returns:
            One row per recording (or window), columns as in
            `ecgnb.data.manifest.COLUMNS`. Its ``attrs`` count what was left out:
            ``n_absent``, ``n_withdrawn``, ``n_duplicate``, ``n_foreign``.

        Raises:
            ReadError: ``missing_file``, there is no folder; ``empty``, it contains none
                of the recordings.
            LabelError: none of the recordings has a label of the default label set.
            ConfigError: the label set is unknown, or the likelihood is no percentage.
        """
        classes = self.classes(label_set)
        if not 0 <= likelihood <= 100:
            raise ConfigError(
                f"The likelihood is {likelihood:g}; give a percentage from 0 (all "
                "statements) to 100."
            )
        root = Path(root).expanduser().resolve()
        if not root.is_dir():
            raise ReadError(
                "missing_file",
                f"There is no folder {root}. Check the path of the data set "
                f"{self.name}.",
            )
        query = Query(label_set or self.default_label_set, likelihood, target_fs)
        records: dict[str, Record] = {}
        for record in self.records(root, query):
            # some data sets ship a part of their recordings twice: the first counts
            if records.setdefault(record.record_id, record) is not record:
                query.left_out["duplicate"] += 1
        if not records:
            raise ReadError(
                "empty",
                f"{root} holds no recording of {self.name}. Expected there: "
                f"{self.expects}.",
            )
        rows = [self._row(record, classes) for record in records.values()]
        manifest = as_manifest(rows)
        self._check_labels(manifest, root, query)
        counts = []
        for reason, text in LEFT_OUT.items():
            count = query.left_out[reason]
            manifest.attrs[f"n_{reason}"] = count
            if count:
                counts.append(f"{count} {text}")
        if counts:
            say(f"{self.name}: left out recordings: {', '.join(counts)}.")
        return manifest

    def classes(self, label_set: str | None = None) -> tuple[str, ...]:
        """Return the classes of a label set in their order.

        Raises:
            ConfigError: the label set is unknown.
        """
        name = label_set or self.default_label_set
        if name not in self.label_sets:
            hint = did_you_mean(name, list(self.label_sets))
            raise ConfigError(
                f"The data set {self.name} has no label set {name!r}.{hint} "
                f"It has: {', '.join(self.label_sets)}."
            )
        return self.label_sets[name]

    def _row(self, record: Record, classes: tuple[str, ...]) -> dict[str, object]:
        labels = set(record.labels)
        return vars(record) | {
            "dataset": self.name,
            "path": record.path.as_posix(),
            "leads": "|".join(record.leads),
            "label": "|".join([name for name in classes if name in labels]),
        }

    def _check_labels(self, manifest: pd.DataFrame, root: Path, query: Query) -> None:
        is_default = query.label_set == self.default_label_set
        if is_default and (manifest["label"] == "").all():
            raise LabelError(
                f"None of the {len(manifest)} recordings in {root} has a label of "
                f"{self.name}. Expected there: {self.expects}. For recordings without "
                "labels use the data set 'folder'."
            )


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
