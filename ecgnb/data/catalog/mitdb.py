"""MIT-BIH Arrhythmia Database: two-lead recordings with annotated beats and rhythms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ecgnb.data.catalog.annotation_windows import WindowedDataset, main_rhythm
from ecgnb.data.catalog.base import CATALOG, Query, unify, with_unified
from ecgnb.data.catalog.wfdb_dataset import Comments, Table

#: Normal sinus rhythm, then as the database's directory lists them: atrial
#: fibrillation, flutter and bigeminy, ventricular bigeminy, second-degree block,
#: idioventricular, nodal, paced, pre-excitation, sinus bradycardia, supraventricular
#: tachyarrhythmia, ventricular trigeminy, flutter and tachycardia.
_RHYTHMS = (
    "N",
    "AFIB",
    "AFL",
    "AB",
    "B",
    "BII",
    "IVR",
    "NOD",
    "P",
    "PREX",
    "SBR",
    "SVTA",
    "T",
    "VFL",
    "VT",
)


@CATALOG.register("mitdb")
class MitDb(WindowedDataset):
    """MIT-BIH: 48 recordings of half an hour, in windows of 10 s end to end.

    Two leads at 360 Hz, mostly MLII and V1.

    The label of a window is the rhythm that fills most of it. Each record is a patient,
    except that 201 and 202 are one person.

    Unified labels: AF where atrial fibrillation fills most of the window; BBB where at
    least half of its beats are conducted with bundle branch block (L or R); NORM where
    it is sinus rhythm throughout and every beat is normal; OTHER for the rest. MI is
    not annotated.

    MIT-BIH Arrhythmia Database. Moody GB, Mark RG. IEEE Eng Med Biol 2001;20(3):45-50.
    doi:10.13026/C2F305.

    Licence: ODC-By 1.0.

    Checked against the database's directory and the codes of annotations
    (physionet.org/physiobank/database/html/mitdbdir, physiobank/annotations.shtml; no
    official evaluation of rhythms exists): names of rhythms, symbols of beats, records
    201 and 202 of one person.
    """

    expects = "WFDB records 100 to 234 with their annotations (.atr)"
    download = "mitdb/1.0.0"
    label_sets = with_unified(rhythm=_RHYTHMS)
    pattern = re.compile(r"[12]\d\d")

    def window_labels(
        self, durations: dict[str, int], beats: np.ndarray, query: Query
    ) -> Iterable[str]:
        """Return the rhythm of a window, or its unified label."""
        rhythm = main_rhythm(durations)
        if rhythm not in ("", *_RHYTHMS):
            query.not_understood[rhythm] += 1
        if query.label_set != "unified":
            return (rhythm,)
        labels = []
        if rhythm == "AFIB":
            labels.append("AF")
        # L, R: beats with left or right bundle branch block
        if len(beats) and np.isin(beats, ["L", "R"]).mean() >= 0.5:
            labels.append("BBB")
        if len(beats) and (beats == "N").all() and list(durations) == ["N"]:
            labels.append("NORM")
        return unify(labels, known=rhythm in _RHYTHMS)

    def patient(self, path: Path, comments: Comments, table: Table) -> str:
        """Return the record's name, 201 for both records of that patient."""
        return "201" if path.stem == "202" else path.stem  # one person
