"""PhysioNet/CinC Challenge 2011: signal quality of 12-lead ECGs from mobile phones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ecgnb.data.catalog.base import CATALOG, Query, with_unified
from ecgnb.data.catalog.dataset_files import read_table, tables_beside
from ecgnb.data.catalog.wfdb_dataset import Comments, Table, WfdbDataset
from ecgnb.data.cell_text import is_missing

_CLASSES = ("acceptable", "unacceptable")


@CATALOG.register("cinc2011")
class Cinc2011(WfdbDataset):
    """Challenge 2011. Labels come from ``RECORDS-acceptable`` and
    ``RECORDS-unacceptable``, or from ``labels.csv``.

    Recordings of 10 s at 500 Hz. The files order the augmented leads aVR, aVF, aVL.
    Patients are unknown.

    Unified labels: none, as the labels do not concern the heart.

    Improving the Quality of ECGs Collected using Mobile Phones: PhysioNet/CinC
    Challenge 2011. Silva I, Moody GB, Celi L. Comput Cardiol 2011;38:273-276.

    Licence: ODC-By 1.0.

    Checked against the organisers' lists of set-a
    (physionet.org/content/challenge-2011): a record in neither list is indeterminate
    and has no label.
    """

    expects = (
        "WFDB records 1002603 and so on with RECORDS-acceptable and "
        "RECORDS-unacceptable, or labels.csv"
    )
    download = "challenge-2011/1.0.0"
    signature = "RECORDS-acceptable"
    label_sets = with_unified(quality=_CLASSES)
    pattern = re.compile(r"\d{7}")

    def table(self, root: Path) -> Table:
        """Return the quality of each record."""
        quality: dict[str, str] = {}
        for path in tables_beside(root, "labels.csv")[:1]:  # at most one
            table = read_table(path, ("record", "quality"))
            labels = table["quality"].str.strip().str.lower()
            quality.update(zip(table["record"], labels, strict=True))
        for label in _CLASSES:
            for path in tables_beside(root, f"RECORDS-{label}"):
                for name in path.read_text(encoding="utf-8").split():
                    quality[name.rpartition("/")[2]] = label
        return quality

    def labels(
        self, record_id: str, comments: Comments, table: Table, query: Query
    ) -> Iterable[str]:
        """Return the quality; there are no unified labels."""
        if query.label_set == "unified":
            return ()
        quality = table.get(record_id, "")
        if not is_missing(quality) and quality not in _CLASSES:
            query.not_understood[quality] += 1
        return (quality,)
