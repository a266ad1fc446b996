"""Recordings shared by the tests of the demo cohort."""

from __future__ import annotations

from collections import defaultdict

import pytest
from demo_signals import CLEAN

from ecgnb.data.demo.patients import plan_case
from ecgnb.data.demo.synthesise import synthesise
from ecgnb.data.recording import Recording

N = 420


@pytest.fixture(scope="session")
def by_subtype() -> dict[str, list[Recording]]:
    """Noiseless recordings with a typical diagnosis, by subtype."""
    recordings = defaultdict(list)
    for index in range(N):
        if not plan_case(index, CLEAN).borderline:
            recording = synthesise(index, CLEAN)
            recordings[recording.metadata["subtype"]].append(recording)
    return recordings
