"""What a preparation will lose is stated before it is lost, with the ways out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from store_helpers import TWELVE, manifest_of

from ecgnb.data.config import PrepareConfig
from ecgnb.data.store.losses import expected_losses, lines_of

NAMES = "|".join(TWELVE)


def cohort(*kinds) -> pd.DataFrame:
    """Return a manifest of (number, leads, fs, seconds)."""
    columns: dict[str, list] = {"leads": [], "fs": [], "n_samples": []}
    for number, leads, fs, seconds in kinds:
        columns["leads"] += [leads] * number
        columns["fs"] += [fs] * number
        columns["n_samples"] += [round(fs * seconds)] * number
    n = len(columns["fs"])
    return manifest_of([f"{index}.hea" for index in range(n)], **columns)


def test_nothing_is_lost_of_recordings_in_the_wanted_form():
    (verdict,) = expected_losses(cohort((40, NAMES, 500.0, 10)), PrepareConfig())
    assert verdict.status == "pass" and not lines_of([verdict])
    assert verdict.finding.startswith("nothing is lost: 12 leads (I, II, III,")
    assert verdict.finding.endswith("10 s at 500 Hz")


def test_thirty_twelve_lead_recordings_among_single_leads_are_a_failure():
    manifest = cohort((30, NAMES, 500.0, 10), (10, "I", 500.0, 10))
    (verdict,) = expected_losses(manifest, PrepareConfig())
    assert verdict.status == "fail"
    assert verdict.finding.startswith(
        "LEADS is empty, so only I will be kept; 30 of 40 recordings lose other leads "
        "(II, III,"
    )
    assert f"LEADS='{','.join(TWELVE)}' to keep these 12 leads" in verdict.what_to_do
    assert "(10 of 40 recordings lack some of them" in verdict.what_to_do
    assert "MISSING_LEADS='zero'" in verdict.what_to_do
    assert verdict.what_to_do.endswith("or LEADS='I' if only these are wanted.")
    # the choice is made: said as a warning, or nothing to say
    (chosen,) = expected_losses(manifest, PrepareConfig(leads=TWELVE))
    assert chosen.status == "warn" and chosen.finding.startswith(
        "10 of 40 recordings lack leads (II, III,"
    )
    (zeros,) = expected_losses(
        manifest, PrepareConfig(leads=TWELVE, missing_leads="zero")
    )
    assert "which will be zeros" in zeros.finding
    (single,) = expected_losses(manifest, PrepareConfig(leads=("I",)))
    assert single.status == "pass"


def test_twelve_leads_of_a_minority_are_a_warning():
    manifest = cohort((30, "I", 500.0, 10), (10, NAMES, 500.0, 10))
    (verdict,) = expected_losses(manifest, PrepareConfig())
    assert verdict.status == "warn" and "10 of 40 recordings lose" in verdict.finding
    assert f"LEADS='{','.join(TWELVE)}'" in verdict.what_to_do


def test_names_that_differ_reject_recordings_and_derived_leads_lose_nothing():
    mixed = cohort((30, NAMES, 500.0, 10), (10, "ECG", 500.0, 10))
    (verdict,) = expected_losses(mixed, PrepareConfig())
    assert verdict.status == "warn"
    assert verdict.finding.startswith("10 of 40 recordings lack leads (I, II,")
    assert verdict.finding.endswith("and will be rejected.")
    assert "Set MISSING_LEADS='zero'" in verdict.what_to_do
    eight = "I|II|V1|V2|V3|V4|V5|V6"
    derived = cohort((30, NAMES, 500.0, 10), (10, eight, 500.0, 10))
    (verdict,) = expected_losses(derived, PrepareConfig())
    assert verdict.status == "pass" and "12 leads" in verdict.finding
    (verdict,) = expected_losses(
        cohort((5, "I", 500.0, 10)), PrepareConfig(leads=("V1",))
    )
    assert verdict.status == "fail" and "their leads are I." in verdict.finding


def test_thirty_seconds_at_300_hz_are_cut_and_upsampled_at_the_defaults():
    manifest = cohort((90, "ECG", 300.0, 30), (10, "ECG", 300.0, 9))
    cut, upsampled = expected_losses(manifest, PrepareConfig())
    # of 90 * 30 + 10 * 9 = 2,790 s, 90 * 20 = 1,800 s are lost: 64.5 %
    assert cut.status == upsampled.status == "warn"
    assert cut.finding == (
        "90 of 100 recordings are longer than 10 s; only the middle 10 s of each will "
        "be used, 65% of all that was recorded is lost."
    )
    assert "Set TARGET_SAMPLES=9000 with TARGET_FS=300 to use 30 s" in cut.what_to_do
    assert "CROP='start'" in cut.what_to_do
    assert upsampled.finding.startswith("100 of 100 recordings have a lower rate")
    assert "upsampled to 500 Hz" in upsampled.finding
    assert "TARGET_FS=300" in upsampled.what_to_do
    followed = PrepareConfig(target_fs=300, target_samples=9000)
    assert expected_losses(manifest, followed)[0].status == "pass"


def test_a_low_rate_loses_frequencies_and_a_long_window_is_padding():
    manifest = cohort((4, "I", 500.0, 10))
    (low,) = expected_losses(
        manifest, PrepareConfig(target_fs=100, target_samples=1000)
    )
    assert low.status == "warn" and "above 45 Hz are lost" in low.finding
    (half,) = expected_losses(
        manifest, PrepareConfig(target_fs=400, target_samples=4000)
    )
    assert half.status == "pass"  # 180 Hz stay
    (padded,) = expected_losses(manifest, PrepareConfig(target_samples=15000))
    assert padded.status == "warn" and "67% of what will be stored" in padded.finding


def test_recordings_that_will_be_rejected_are_counted():
    manifest = cohort((8, "I", 500.0, 10), (1, "I", 20.0, 10), (1, "I", 500.0, 0.5))
    findings = [
        verdict.finding for verdict in expected_losses(manifest, PrepareConfig())
    ]
    assert findings[0].startswith("1 of 10 recordings have a rate outside 50 to 5000")
    assert findings[1].startswith("1 of 10 recordings last less than 1 s")


def test_a_few_long_recordings_do_not_propose_a_window_of_a_day():
    manifest = cohort((99, "I", 500.0, 10), (1, "I", 500.0, 86400))
    (verdict,) = expected_losses(manifest, PrepareConfig())
    assert "99% of all that was recorded is lost" in verdict.finding
    assert verdict.what_to_do.startswith("Raise TARGET_SAMPLES")
    (day,) = expected_losses(cohort((3, "I", 500.0, 86400)), PrepareConfig())
    assert "TARGET_SAMPLES=30000 to use 60 s" in day.what_to_do


@pytest.mark.parametrize(("n_twelve", "n_single"), [(30, 10), (10, 30)])
def test_leads_of_files_without_headers_are_not_those_of_the_first_one(
    tmp_path, n_twelve, n_single
):
    paths = []
    wave = np.sin(np.arange(1000) / 20).astype(np.float32)
    for number in range(n_single + n_twelve):
        paths.append(tmp_path / f"{number:02d}.npy")
        n_leads = 1 if number < n_single else 12
        np.save(paths[-1], np.tile(wave, (n_leads, 1)))
    verdicts = expected_losses(
        manifest_of(paths, fs=500.0), PrepareConfig(target_samples=1000)
    )
    findings = " ".join(verdict.finding for verdict in verdicts)
    assert [verdict.status for verdict in verdicts] == ["warn"]
    assert f"{min(n_twelve, n_single)} of 40 recordings" in findings
