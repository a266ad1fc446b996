"""PhysioNet/CinC Challenge 2017: 8,528 single-lead recordings of 9 to 61 s, one of four
classes each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ecgnb.core.errors import LabelError
from ecgnb.data.catalog.base import CATALOG, UNIFIED, Query, unify
from ecgnb.data.catalog.dataset_files import read_table, tables_beside
from ecgnb.data.catalog.wfdb_dataset import WfdbDataset

_CLASSES = ("N", "A", "O", "~")
_UNIFIED = {"N": "NORM", "A": "AF"}


@CATALOG.register("cinc2017")
class Cinc2017(WfdbDataset):
    """Challenge 2017. Classes: N normal rhythm, A atrial fibrillation, O other rhythm,
    ~ too noisy.

    The labels were revised twice: of several ``REFERENCE*.csv`` the one with the
    highest version counts (``REFERENCE-v3.csv``). The validation set repeats 300
    training recordings; they are counted once.

    Unified labels: N is NORM, A is AF, O is OTHER; a noisy recording has none. A single
    lead shows neither MI nor BBB.
    """

    name = "cinc2017"
    title = "AF Classification from a Short Single Lead ECG Recording: PhysioNet/CinC Challenge 2017"
    licence = "ODC-By 1.0"
    citation = (
        "Clifford GD, et al. Comput Cardiol 2017;44. doi:10.22489/CinC.2017.065-469"
    )
    expects = "records A00001 and so on with REFERENCE.csv or REFERENCE-v3.csv"
    leads = ("ECG",)
    fs = 300.0
    default_label_set = "challenge"
    download = "challenge-2017/1.0.0"
    label_sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "challenge": _CLASSES,
        "unified": UNIFIED,
    }
    pattern = re.compile(r"A\d{5}")

    def table(self, root: Path) -> Mapping[str, str]:
        """Return the class of each record."""
        files = tables_beside(root, "REFERENCE*.csv")
        classes: dict[str, str] = {}
        for path in sorted(
            files, key=lambda path: (path.stem.lower(), path.as_posix())
        ):
            rows = read_table(path, header=None)
            for record, label in zip(
                rows[0].str.strip(), rows[rows.columns[-1]].str.strip(), strict=True
            ):
                if label not in _CLASSES:
                    raise LabelError(
                        f"{path} labels {record} {label!r}; the classes are {', '.join(_CLASSES)}."
                    )
                classes[record] = label
        return classes

    def labels(
        self,
        record_id: str,
        said: Mapping[str, Any],
        table: Mapping[str, Any],
        query: Query,
    ) -> Iterable[str]:
        """Return the class in the reference table."""
        label = table.get(record_id, "")
        if query.label_set == "unified":
            return unify([_UNIFIED.get(label, "")], known=label == "O")
        return (label,)
