"""China Physiological Signal Challenge 2021: episodes of atrial fibrillation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from ecgnb.data.catalog.annotation_windows import Annotations, WindowedDataset
from ecgnb.data.catalog.base import CATALOG, UNIFIED, Query, unify
from ecgnb.data.catalog.wfdb_dataset import Comments

_CLASS_OF = {"N": "non-AF", "AFIB": "AF", "AFL": "AF"}


@CATALOG.register("cpsc2021")
class Cpsc2021(WindowedDataset):
    """CPSC 2021: two-lead recordings in windows of 10 s end to end.

    The label of a window is the rhythm that fills most of it, non-AF before the first
    annotated one. As in the Challenge, flutter counts as AF. The record ``data_P_R`` is
    recording R of patient P.

    Unified labels: AF where fibrillation (not flutter) fills most of the window, OTHER
    for the rest: a rhythm that is not AF may be normal or not, and MI and BBB are not
    annotated.
    """

    name = "cpsc2021"
    title = (
        "Paroxysmal Atrial Fibrillation Events Detection: "
        "China Physiological Signal Challenge 2021"
    )
    licence = "ODC-By 1.0"
    citation = "Wang X, et al. PhysioNet 2021. doi:10.13026/ksya-qw89"
    expects = "WFDB records data_0_1 and so on with their annotations (.atr)"
    leads = ("I", "II")
    fs = 200.0
    default_label_set = "rhythm"
    download = "cpsc2021/1.0.0"
    label_sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "rhythm": ("non-AF", "AF"),
        "unified": UNIFIED,
    }
    pattern = re.compile(r"data_(\d+)_\d+")
    before_first = "N"

    def window_labels(
        self, annotations: Annotations, start: int, stop: int, query: Query
    ) -> Iterable[str]:
        """Return whether a window is in atrial fibrillation."""
        rhythm = annotations.main_rhythm(start, stop)
        if query.label_set == "unified":
            return unify(["AF"] if rhythm == "AFIB" else [])
        return (_CLASS_OF.get(rhythm, ""),)

    def patient(self, path: Path, comments: Comments) -> str:
        """Return the first number of the record's name."""
        return path.stem.split("_")[1]
