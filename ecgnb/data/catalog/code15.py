"""CODE-15%: twelve-lead recordings of Brazilian telehealth as WFDB records, labelled
for Chagas disease.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ecgnb.data.catalog.base import CATALOG, UNIFIED, Query, unify
from ecgnb.data.catalog.dataset_files import read_table, tables_beside
from ecgnb.data.catalog.wfdb_dataset import WfdbDataset

_CHAGAS = {"false": "negative", "true": "positive"}
#: Columns of ``exams.csv`` that say something for the unified labels.
_EXAMS = {"AF": "AF", "RBBB": "BBB", "LBBB": "BBB", "normal_ecg": "NORM"}


@CATALOG.register("code15")
class Code15(WfdbDataset):
    """CODE-15%, converted to WFDB with the lines ``# Patient ID:`` and ``# Chagas
    label:`` in its headers.

    Classes: negative, positive (for Chagas disease; self-reported, so weak).

    Unified labels need the data set's ``exams.csv`` beside the recordings: AF is AF,
    RBBB and LBBB are BBB, normal_ecg is NORM, the rest OTHER; MI is not known. Without
    that table no recording has a unified label.
    """

    name = "code15"
    title = "CODE-15%: a large scale annotated dataset of 12-lead ECGs"
    licence = "CC BY 4.0"
    citation = "Ribeiro AH, et al. Zenodo 2021. doi:10.5281/zenodo.4916206"
    expects = (
        "WFDB records named by exam, with a '# Chagas label:' line in their headers"
    )
    fs = 400.0
    default_label_set = "chagas"
    label_sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "chagas": tuple(_CHAGAS.values()),
        "unified": UNIFIED,
    }
    pattern = re.compile(r"\d+\w*")

    def table(self, root: Path) -> Mapping[str, list[str]]:
        """Return which of the unified labels ``exams.csv`` gives each exam."""
        found: dict[str, list[str]] = {}
        for path in tables_beside(root, "exams.csv")[:1]:
            table = read_table(path, ("exam_id", *_EXAMS))
            flags = {
                name: table[name].str.lower().isin(["true", "1", "1.0"])
                for name in _EXAMS
            }
            for row, exam in enumerate(table["exam_id"]):
                found[exam] = [
                    label for name, label in _EXAMS.items() if flags[name].iat[row]
                ]
        return found

    def labels(
        self,
        record_id: str,
        said: Mapping[str, Any],
        table: Mapping[str, Any],
        query: Query,
    ) -> Iterable[str]:
        """Return the Chagas label of the header, or the unified labels of the table."""
        if query.label_set == "unified":
            return unify(table.get(record_id, ()), known=record_id in table)
        return (_CHAGAS.get(said["fields"].get("chagas label", "").lower(), ""),)
