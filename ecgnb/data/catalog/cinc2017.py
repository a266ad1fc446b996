"""PhysioNet/CinC Challenge 2017: atrial fibrillation in single-lead recordings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ecgnb.core.errors import LabelError
from ecgnb.data.catalog.base import CATALOG, Query, with_unified
from ecgnb.data.catalog.dataset_files import read_table, tables_beside
from ecgnb.data.catalog.wfdb_dataset import Comments, Table, WfdbDataset

_CLASSES = ("N", "A", "O", "~")
_UNIFIED = {"N": "NORM", "A": "AF", "O": "OTHER"}


@CATALOG.register("cinc2017")
class Cinc2017(WfdbDataset):
    """Challenge 2017: 8,528 recordings of 9 to 61 s, one lead at 300 Hz.

    Classes: N normal rhythm, A atrial fibrillation, O other rhythm, ~ too noisy. The
    labels were revised twice: of several ``REFERENCE*.csv`` the one with the highest
    version counts (``REFERENCE-v3.csv``). The validation set repeats 300 training
    recordings; they count once.

    Unified labels: N is NORM, A is AF, O is OTHER; a noisy recording has none. A single
    lead shows neither MI nor BBB.

    AF Classification from a Short Single Lead ECG Recording: PhysioNet/CinC Challenge
    2017. Clifford GD, et al. Comput Cardiol 2017;44. doi:10.22489/CinC.2017.065-469.

    Licence: ODC-By 1.0.
    """

    expects = "records A00001 and so on with REFERENCE.csv or REFERENCE-v3.csv"
    download = "challenge-2017/1.0.0"
    label_sets = with_unified(challenge=_CLASSES)
    pattern = re.compile(r"A\d{5}")

    def table(self, root: Path) -> Table:
        """Return the class of each record."""
        files = tables_beside(root, "REFERENCE*.csv")
        files.sort(key=lambda path: (path.stem.lower(), path.as_posix()))
        classes: dict[str, str] = {}
        for path in files:  # later versions replace earlier ones
            rows = read_table(path, header=None)
            labels = rows[rows.columns[-1]].str.strip()
            for record, label in zip(rows[0].str.strip(), labels, strict=True):
                if label not in _CLASSES:
                    raise LabelError(
                        f"{path} labels {record} {label!r}; the classes are "
                        f"{', '.join(_CLASSES)}."
                    )
                classes[record] = label
        return classes

    def labels(
        self, record_id: str, comments: Comments, table: Table, query: Query
    ) -> Iterable[str]:
        """Return the class in the reference table."""
        label = table.get(record_id, "")
        if query.label_set == "unified":
            return (_UNIFIED.get(label, ""),)
        return (label,)
