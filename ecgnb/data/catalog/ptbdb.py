"""PTB Diagnostic ECG Database: twelve leads and Frank's three, clinical diagnoses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ecgnb.data.catalog.base import CATALOG, Query, unify, with_unified
from ecgnb.data.catalog.wfdb_dataset import Comments, Table, WfdbDataset
from ecgnb.data.cell_text import is_missing

#: Classes, with the first words of their reasons for admission.
_REASONS = {
    "Myocardial infarction": ("myocardial infarction",),
    "Cardiomyopathy or heart failure": ("cardiomyopathy", "heart failure"),
    "Bundle branch block": ("bundle branch block",),
    "Dysrhythmia": ("dysrhythmia",),
    "Hypertrophy": ("hypertrophy", "myocardial hypertrophy"),
    "Valvular heart disease": ("valvular heart disease",),
    "Myocarditis": ("myocarditi",),  # both spellings occur
    "Miscellaneous": ("stable angina", "unstable angina", "palpitation"),
    "Healthy control": ("healthy control",),
}
_UNIFIED = {
    "Myocardial infarction": "MI",
    "Bundle branch block": "BBB",
    "Healthy control": "NORM",
}


@CATALOG.register("ptbdb")
class PtbDb(WfdbDataset):
    """PTB Diagnostic: 549 recordings of 290 subjects at 1000 Hz.

    The labels are the "Reason for admission" in the headers, a clinical diagnosis;
    "n/a" is no label. The patient is the folder ``patientNNN``.

    Unified labels: infarction is MI, bundle branch block BBB, healthy control NORM, the
    rest OTHER. Whether a dysrhythmia is atrial fibrillation is unknown, so there is no
    AF.

    PTB Diagnostic ECG Database. Bousseljot R, Kreiseler D, Schnabel A. Biomed Tech
    1995;40(s1):317-318. doi:10.13026/C28C71.

    Licence: ODC-By 1.0.

    Checked against the diagnostic classes on physionet.org/content/ptbdb (no official
    evaluation exists): the same nine classes, of the "Reason for admission".
    """

    expects = "folders patient001 and so on with WFDB records s0010_re and so on"
    download = "ptbdb/1.0.0"
    label_sets = with_unified(diagnosis=tuple(_REASONS))
    pattern = re.compile(r"s\d{4}\w*")

    def labels(
        self, record_id: str, comments: Comments, table: Table, query: Query
    ) -> Iterable[str]:
        """Return the class of the reason for admission."""
        reason = comments["fields"].get("reason for admission", "").lower()
        matches = [name for name, words in _REASONS.items() if reason.startswith(words)]
        label = matches[0] if matches else ""
        if not matches and not is_missing(reason):
            query.not_understood[reason] += 1
        if query.label_set == "unified":
            return unify([_UNIFIED.get(label, "")], known=bool(label))
        return (label,)

    def patient(self, path: Path, comments: Comments, table: Table) -> str:
        """Return the folder's name where it is that of a patient."""
        folder = path.parent.name
        return folder if re.fullmatch(r"patient\d+", folder) else ""
