"""China Physiological Signal Challenge 2021: episodes of atrial fibrillation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ecgnb.data.catalog.annotation_windows import WindowedDataset, main_rhythm
from ecgnb.data.catalog.base import CATALOG, Query, with_unified
from ecgnb.data.catalog.wfdb_dataset import Comments, Table

_CLASS_OF = {"N": "non-AF", "AFIB": "AF", "AFL": "AF"}


@CATALOG.register("cpsc2021")
class Cpsc2021(WindowedDataset):
    """CPSC 2021: leads I and II at 200 Hz, in windows of 10 s end to end.

    The label of a window is the rhythm that fills most of it, non-AF before the first
    annotated one. As in the Challenge, flutter counts as AF. The record ``data_P_R`` is
    recording R of patient P.

    Unified labels: AF where fibrillation (not flutter) fills most of the window, OTHER
    for the rest: a rhythm that is not AF may be normal or not, and MI and BBB are not
    annotated.

    Paroxysmal Atrial Fibrillation Events Detection: China Physiological Signal
    Challenge 2021. Wang X, et al. PhysioNet 2021. doi:10.13026/ksya-qw89.

    Licence: ODC-By 1.0.

    Checked against the organisers' ``score_2021.py``: rhythms are the notes of the
    annotations, ``(AFIB`` and ``(AFL`` both begin an episode and ``(N`` ends it. Their
    score of episodes is not reported, as windows have no end points.
    """

    expects = "WFDB records data_0_1 and so on with their annotations (.atr)"
    download = "cpsc2021/1.0.0"
    label_sets = with_unified(rhythm=("non-AF", "AF"))
    pattern = re.compile(r"data_(\d+)_\d+")
    before_first = "N"

    def window_labels(
        self, durations: dict[str, int], beats: np.ndarray, query: Query
    ) -> Iterable[str]:
        """Return whether a window is in atrial fibrillation."""
        rhythm = main_rhythm(durations)
        if rhythm not in ("", *_CLASS_OF):
            query.not_understood[rhythm] += 1
            return ()
        if query.label_set == "unified":
            # flutter (AFL) is no fibrillation here, other than in the Challenge
            return ("AF" if rhythm == "AFIB" else "OTHER",)
        return (_CLASS_OF.get(rhythm, ""),)

    def patient(self, path: Path, comments: Comments, table: Table) -> str:
        """Return the first number of the record's name."""
        return path.stem.split("_")[1]  # data_<patient>_<recording>
