from __future__ import annotations

from pathlib import Path

import pytest

import ecgnb
from ecgnb.core.errors import LabelError


def test_the_coverage_counts_recordings_and_labels(finished_run) -> None:
    coverage = ecgnb.load_cohort(finished_run)
    results = finished_run.require("cohort")
    assert results["n_recordings"] == len(finished_run.manifest) == 80
    assert coverage.equals(finished_run.coverage) or len(coverage) > 0


def test_labels_that_fit_nothing(project: Path, small_parameters: dict) -> None:
    run = ecgnb.open_run({**small_parameters, "LABEL_ORDER": ["A", "B"]})
    with pytest.raises(LabelError, match=r"A, B|A \| B|classes"):
        ecgnb.load_cohort(run)
