"""CODE-15%: 12-lead recordings of Brazilian telehealth, labelled for Chagas disease."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ecgnb.core.progress import say
from ecgnb.data.catalog.base import CATALOG, Query, unify, with_unified
from ecgnb.data.catalog.dataset_files import read_table, tables_beside
from ecgnb.data.catalog.wfdb_dataset import Comments, Table, WfdbDataset
from ecgnb.data.cell_text import is_missing, patient_id, without_decimals

_CLASSES = ("negative", "positive")
#: Spellings of the Chagas label, as the Challenge of 2025 reads them.
_CHAGAS = dict.fromkeys(("0", "false", "f", "no", "n"), "negative")
_CHAGAS |= dict.fromkeys(("1", "true", "t", "yes", "y"), "positive")
_TRUE = [text for text, label in _CHAGAS.items() if label == "positive"]
#: Unified labels by columns of ``exams.csv``.
_UNIFIED = {"AF": "AF", "RBBB": "BBB", "LBBB": "BBB", "normal_ecg": "NORM"}


@CATALOG.register("code15")
class Code15(WfdbDataset):
    """CODE-15% at 400 Hz, converted to WFDB with a line ``# Chagas label:`` in its
    headers.

    Classes: negative, positive (for Chagas disease; self-reported, so weak).

    Patients and unified labels need the data set's ``exams.csv`` beside the recordings
    or one folder above: the headers of the official conversion do not name the patient,
    and many patients have several exams. AF is AF, RBBB and LBBB are BBB, normal_ecg is
    NORM, the rest OTHER; MI is unknown. Without that table no recording has a unified
    label.

    CODE-15%: a large scale annotated dataset of 12-lead ECGs. Ribeiro AH, et al. Zenodo
    2021. doi:10.5281/zenodo.4916206.

    Licence: CC BY 4.0.

    Checked against the organisers' ``prepare_code15_data.py`` and the reading of labels
    in ``helper_code.py`` (github.com/physionetchallenges/python-example-2025): comments
    of the headers, 400 Hz, spellings of a true label.
    """

    expects = (
        "WFDB records named by exam, with a '# Chagas label:' line in their headers"
    )
    label_sets = with_unified(chagas=_CLASSES)
    pattern = re.compile(r"\d+\w*")
    signature = "exams.csv"

    def table(self, root: Path) -> Table:
        """Return patient and unified labels that ``exams.csv`` has of each exam."""
        files = tables_beside(root, "exams.csv")
        if not files:
            say(
                "code15: there is no exams.csv in the folder or above it. It has the "
                "patients; without it exams of one patient may be in several splits."
            )
            return {}
        exams: dict[str, dict[str, Any]] = {}
        for path in files:
            table = read_table(path, ("exam_id", "patient_id", *_UNIFIED))
            names = table["exam_id"].str.strip().map(without_decimals)
            for exam, patient in zip(names, table["patient_id"], strict=True):
                exams[exam] = {"patient": patient_id(patient), "labels": []}
            for column, label in _UNIFIED.items():
                values = table[column].str.strip().str.lower().map(without_decimals)
                for exam in names[values.isin(_TRUE)]:
                    exams[exam]["labels"].append(label)
        return exams

    def labels(
        self, record_id: str, comments: Comments, table: Table, query: Query
    ) -> Iterable[str]:
        """Return the Chagas label of the header, or the unified labels of the table."""
        if query.label_set != "unified":
            text = without_decimals(comments["fields"].get("chagas label", "")).lower()
            if text not in _CHAGAS and not is_missing(text) and text != "unknown":
                query.not_understood[text] += 1
            return (_CHAGAS.get(text, ""),)
        exam = table.get(record_id)
        return () if exam is None else unify(exam["labels"])

    def patient(self, path: Path, comments: Comments, table: Table) -> str:
        """Return the patient of the table, else that of the header."""
        exam = table.get(path.stem, {})
        return exam.get("patient") or super().patient(path, comments, table)
