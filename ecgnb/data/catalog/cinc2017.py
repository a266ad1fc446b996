"""PhysioNet/CinC Challenge 2017: atrial fibrillation in single-lead recordings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ecgnb.core.errors import LabelError, first_few
from ecgnb.core.progress import say
from ecgnb.data.catalog.base import CATALOG, Query, with_unified
from ecgnb.data.catalog.dataset_files import read_table, tables_beside
from ecgnb.data.catalog.wfdb_dataset import Comments, Table, WfdbDataset

_CLASSES = ("N", "A", "O", "~")
_UNIFIED = {"N": "NORM", "A": "AF", "O": "OTHER"}


#: Versions of the reference table by the end of its name. The original one was the
#: first, and REFERENCE.csv without a version may be any later one.
_VERSION = re.compile(r"REFERENCE(-original|-v(\d+)|)\.csv", re.IGNORECASE)


@CATALOG.register("cinc2017")
class Cinc2017(WfdbDataset):
    """Challenge 2017: 8,528 recordings of 9 to 61 s, one lead at 300 Hz.

    Classes: N normal rhythm, A atrial fibrillation, O other rhythm, ~ too noisy. The
    labels were revised twice: of several ``REFERENCE*.csv`` the one with the highest
    version counts (``REFERENCE-v3.csv``, then lower ones, ``REFERENCE.csv`` and last
    ``REFERENCE-original.csv``); it is named. The validation set repeats 300 training
    recordings; they count once.

    Unified labels: N is NORM, A is AF, O is OTHER; a noisy recording has none. A single
    lead shows neither MI nor BBB.

    AF Classification from a Short Single Lead ECG Recording: PhysioNet/CinC Challenge
    2017. Clifford GD, et al. Comput Cardiol 2017;44. doi:10.22489/CinC.2017.065-469.

    Licence: ODC-By 1.0.

    Checked against the organisers' ``score2017Challenge.m`` (in the sample entry of
    physionet.org/content/challenge-2017): a table without a row of names, the classes
    N, A, O and ~, and the final score, the mean of the F1 of N, A and O
    (`ecgnb.evaluation.challenge.rhythm_f1_scorer`).
    """

    expects = "records A00001 and so on with REFERENCE.csv or REFERENCE-v3.csv"
    download = "challenge-2017/1.0.0"
    label_sets = with_unified(challenge=_CLASSES)
    pattern = re.compile(r"A\d{5}")
    signature = "REFERENCE*.csv"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Return whether there is a reference table without the row of names that
        CPSC 2018 has.
        """
        for path in folder.glob(cls.signature):
            first_line, *_ = path.read_text(errors="replace").split("\n")
            return "label" not in first_line.lower()
        return False

    def table(self, root: Path) -> Table:
        """Return the class of each record in the newest table that names it."""
        files = tables_beside(root, "REFERENCE*.csv")
        files.sort(key=lambda path: (_version(path), path.as_posix()))
        classes: dict[str, str] = {}
        n_changed = 0
        for path in files:  # newer versions replace older ones
            labels = _read_reference(path)
            changes = [name for name in labels if classes.get(name) != labels[name]]
            n_changed = len(classes.keys() & set(changes))
            classes |= labels
        if len(files) > 1:
            older = first_few([path.name for path in reversed(files[:-1])])
            say(
                f"cinc2017: labels from {files[-1]}, the newest version; {n_changed} "
                f"of them differ in older ones ({older})."
            )
        return classes

    def labels(
        self, record_id: str, comments: Comments, table: Table, query: Query
    ) -> Iterable[str]:
        """Return the class in the reference table."""
        label = table.get(record_id, "")
        if query.label_set == "unified":
            return (_UNIFIED.get(label, ""),)
        return (label,)


def _version(path: Path) -> int:
    """Return the number of a reference table's version, 0 without any, -1 for the
    original.
    """
    match = _VERSION.fullmatch(path.name)
    if match is None or match[1].lower() == "-original":
        return -1
    return int(match[2] or 0)


def _read_reference(path: Path) -> dict[str, str]:
    rows = read_table(path, header=None)
    labels = {}
    for record, label in zip(rows[0], rows[rows.columns[-1]], strict=True):
        label = label.strip()
        if label not in _CLASSES:
            raise LabelError(
                f"{path} labels {record} {label!r}; the classes are "
                f"{', '.join(_CLASSES)}."
            )
        labels[record.strip()] = label
    return labels
