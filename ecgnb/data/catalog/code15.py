"""CODE-15%: 12-lead recordings of Brazilian telehealth, labelled for Chagas disease."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ecgnb.data.catalog.base import CATALOG, Query, unify, with_unified
from ecgnb.data.catalog.dataset_files import read_table, tables_beside
from ecgnb.data.catalog.wfdb_dataset import Comments, Table, WfdbDataset

_CHAGAS = {"false": "negative", "true": "positive"}
#: Unified labels by columns of ``exams.csv``.
_UNIFIED = {"AF": "AF", "RBBB": "BBB", "LBBB": "BBB", "normal_ecg": "NORM"}


@CATALOG.register("code15")
class Code15(WfdbDataset):
    """CODE-15% at 400 Hz, converted to WFDB with the lines ``# Patient ID:`` and
    ``# Chagas label:`` in its headers.

    Classes: negative, positive (for Chagas disease; self-reported, so weak).

    Unified labels need the data set's ``exams.csv`` beside the recordings: AF is AF,
    RBBB and LBBB are BBB, normal_ecg is NORM, the rest OTHER; MI is unknown. Without
    that table no recording has a unified label.

    CODE-15%: a large scale annotated dataset of 12-lead ECGs. Ribeiro AH, et al. Zenodo
    2021. doi:10.5281/zenodo.4916206.

    Licence: CC BY 4.0.
    """

    expects = (
        "WFDB records named by exam, with a '# Chagas label:' line in their headers"
    )
    label_sets = with_unified(chagas=tuple(_CHAGAS.values()))
    pattern = re.compile(r"\d+\w*")

    def table(self, root: Path) -> Table:
        """Return the unified labels that ``exams.csv`` has of each exam."""
        labels: dict[str, list[str]] = {}
        for path in tables_beside(root, "exams.csv")[:1]:  # at most one
            table = read_table(path, ("exam_id", *_UNIFIED))
            labels = {exam: [] for exam in table["exam_id"]}
            for column, label in _UNIFIED.items():
                is_true = table[column].str.lower().isin(["true", "1", "1.0"])
                for exam in table["exam_id"][is_true]:
                    labels[exam].append(label)
        return labels

    def labels(
        self, record_id: str, comments: Comments, table: Table, query: Query
    ) -> Iterable[str]:
        """Return the Chagas label of the header, or the unified labels of the table."""
        if query.label_set == "unified":
            return unify(table.get(record_id, ()), known=record_id in table)
        return (_CHAGAS.get(comments["fields"].get("chagas label", "").lower(), ""),)
