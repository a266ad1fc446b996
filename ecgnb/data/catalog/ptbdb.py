"""PTB Diagnostic ECG Database: 549 recordings of 290 subjects, twelve leads and Frank's
three.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ecgnb.data.catalog.base import CATALOG, UNIFIED, Query, unify
from ecgnb.data.catalog.wfdb_dataset import WfdbDataset
from ecgnb.data.signal.leads import STANDARD_12

#: Classes, by how the reasons for admission begin that fall under them.
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
    """PTB Diagnostic, labelled by "Reason for admission" in the headers: a clinical
    diagnosis, not a reading.

    The patient is the folder ``patientNNN``; "n/a" is no label.

    Unified labels: infarction is MI, bundle branch block BBB, healthy control NORM, the
    rest OTHER. Whether a dysrhythmia is atrial fibrillation is not said, so there is no
    AF.
    """

    name = "ptbdb"
    title = "PTB Diagnostic ECG Database"
    licence = "ODC-By 1.0"
    citation = "Bousseljot R, Kreiseler D, Schnabel A. Biomed Tech 1995;40(s1):317-318. doi:10.13026/C28C71"
    expects = "folders patient001 and so on with WFDB records s0010_re and so on"
    leads = (*STANDARD_12, "Vx", "Vy", "Vz")
    fs = 1000.0
    default_label_set = "diagnosis"
    download = "ptbdb/1.0.0"
    label_sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "diagnosis": tuple(_REASONS),
        "unified": UNIFIED,
    }
    pattern = re.compile(r"s\d{4}\w*")

    def labels(
        self,
        record_id: str,
        said: Mapping[str, Any],
        table: Mapping[str, Any],
        query: Query,
    ) -> Iterable[str]:
        """Return the class of the reason for admission."""
        reason = said["fields"].get("reason for admission", "").lower()
        label = next(
            (name for name, begins in _REASONS.items() if reason.startswith(begins)), ""
        )
        if query.label_set == "unified":
            return unify([_UNIFIED.get(label, "")], known=bool(label))
        return (label,)

    def patient(self, path: Path, said: Mapping[str, Any]) -> str:
        """Return the folder's name where it is a patient's."""
        return path.parent.name if re.fullmatch(r"patient\d+", path.parent.name) else ""
