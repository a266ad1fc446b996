"""Facts of recordings: from the manifest, or from files that stand for the others."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from store_helpers import TWELVE, manifest_of, wave_steps, write_wfdb

from ecgnb.data.store import recording_facts
from ecgnb.data.store.recording_facts import Facts, facts_of


def test_facts_of_the_manifest_are_counted_without_reading_a_file():
    table = manifest_of(
        ["a.hea", "b.hea", "c.hea"],
        leads=["i|II", "I|II", "V1"],
        fs=[500.0, 500.0, 250.0],
        n_samples=[5000, 5000, 2500],
    )
    facts = facts_of(table)
    assert facts.counts == {
        Facts(("I", "II"), 500.0, 5000): 2,
        Facts(("V1",), 250.0, 2500): 1,
    }
    assert facts.n_read == 0 and not facts.is_estimate
    assert Facts(("V1",), 250.0, 2500).seconds == 10
    assert math.isnan(Facts(("V1",)).seconds)


def test_files_are_read_where_the_manifest_lacks_a_fact(tmp_path, monkeypatch):
    paths = [
        write_wfdb(tmp_path, f"{number}", wave_steps(number, 2, 600), leads=TWELVE[:2])
        for number in range(4)
    ]
    paths[3].write_text("no header", encoding="utf-8")
    facts = facts_of(manifest_of(paths))
    assert facts.counts == {Facts(("I", "II"), 500.0, 600.0): 3}
    assert (facts.n_read, facts.n_unreadable) == (4, 1) and "3.hea" in facts.problem
    # a file that changed is read again
    write_wfdb(tmp_path, "0", wave_steps(0, 2, 700), leads=TWELVE[:2])
    os.utime(tmp_path / "0.hea", ns=(1, 1))
    assert facts_of(manifest_of(paths)).counts[Facts(("I", "II"), 500.0, 700.0)] == 1
    monkeypatch.setattr(recording_facts, "PROBES", 2)
    assert facts_of(manifest_of(paths[:3] * 2)).is_estimate
    assert sum(facts_of(manifest_of(paths[:3] * 2)).counts.values()) == 6


def test_no_more_files_are_read_than_a_number_of_bytes(tmp_path, monkeypatch):
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.npy")
        np.save(paths[-1], np.ones((2, 1000), np.float32))
    monkeypatch.setattr(recording_facts, "PROBE_BYTES", 10_000)  # each has 8,128
    assert facts_of(manifest_of(paths, fs=500.0)).n_read == 2


@pytest.mark.parametrize(
    ("lead", "expected"), [("aVR", True), ("V1", True), ("V2", False)]
)
def test_limb_leads_are_derived_from_two(lead, expected):
    assert recording_facts.has_lead(("I", "aVF", "V1"), lead) is expected
