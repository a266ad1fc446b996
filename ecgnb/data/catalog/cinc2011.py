"""PhysioNet/CinC Challenge 2011: twelve-lead recordings of 10 s from mobile phones, fit
for reading or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ecgnb.data.catalog.base import CATALOG, UNIFIED, Query
from ecgnb.data.catalog.dataset_files import read_table, tables_beside
from ecgnb.data.catalog.wfdb_dataset import WfdbDataset

_CLASSES = ("acceptable", "unacceptable")


@CATALOG.register("cinc2011")
class Cinc2011(WfdbDataset):
    """Challenge 2011. Labels come from ``RECORDS-acceptable`` and
    ``RECORDS-unacceptable``, or from ``labels.csv``.

    The files order the augmented leads aVR, aVF, aVL; leads are read by name. Patients
    are not named.

    Unified labels: none, as nothing is said about the heart.
    """

    name = "cinc2011"
    title = "Improving the Quality of ECGs Collected using Mobile Phones: PhysioNet/CinC Challenge 2011"
    licence = "ODC-By 1.0"
    citation = "Silva I, Moody GB, Celi L. Comput Cardiol 2011;38:273-276"
    expects = "WFDB records 1002603 and so on with RECORDS-acceptable and RECORDS-unacceptable, or labels.csv"
    leads = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
    default_label_set = "quality"
    download = "challenge-2011/1.0.0"
    label_sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "quality": _CLASSES,
        "unified": UNIFIED,
    }
    pattern = re.compile(r"\d{7}")

    def table(self, root: Path) -> Mapping[str, str]:
        """Return the quality of each record."""
        found: dict[str, str] = {}
        for path in tables_beside(root, "labels.csv")[:1]:
            table = read_table(path, ("record", "quality"))
            found |= dict(
                zip(table["record"], table["quality"].str.lower(), strict=True)
            )
        for label in _CLASSES:
            for path in tables_beside(root, f"RECORDS-{label}"):
                names = path.read_text(encoding="utf-8").split()
                found |= {name.rsplit("/", 1)[-1]: label for name in names}
        return found

    def labels(
        self,
        record_id: str,
        said: Mapping[str, Any],
        table: Mapping[str, Any],
        query: Query,
    ) -> Iterable[str]:
        """Return the quality; the set ``unified`` has nothing to say."""
        return () if query.label_set == "unified" else (table.get(record_id, ""),)
