"""Copies: changed ones are found, different recordings are not called copies."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from split_helpers import table

from benchmarks.copies import (
    CHANGES,
    TWELVE,
    StoredSignals,
    read_all,
    share_of_copies,
    stored,
)
from ecgnb.core import files
from ecgnb.data.catalog import find_records
from ecgnb.data.config import PrepareConfig, SplitConfig
from ecgnb.data.demo.cohort_files import DemoConfig, write_record
from ecgnb.data.demo.synthesise import synthesise
from ecgnb.data.splits import copies as copies_module
from ecgnb.data.splits.copies import (
    FILE_NAME,
    copy_groups,
    describe_copies,
    find_copies,
    local_correlation,
    search_copies,
    too_short_for_copies,
    with_copies,
)
from ecgnb.data.splits.leakage import find_leakage
from ecgnb.data.splits.splits import make_splits
from ecgnb.data.store.preparation import prepare_store

#: Changes after which some recordings are not recognised; see docs/leak_check.md.
NOT_ALWAYS = {"20 uV of noise", "filter 0.5 to 40 Hz with its phase"}
SURE = [name for name in CHANGES if name not in NOT_ALWAYS]


@pytest.fixture(scope="module")
def demo():
    """Six synthetic recordings of different patients."""
    return [synthesise(number, DemoConfig()) for number in range(0, 60, 10)]


@pytest.fixture(scope="module")
def real(data_dir):
    """Three recordings of PTB-XL, of Chagas and of LUDB, not longer than the stored
    form: of half of a longer one less than 3 s may be stored.
    """
    folders = ("ptbxl/records500", "code15_chagas", "ludb")
    paths = []
    for folder in folders:
        paths += sorted((data_dir / folder).rglob("*[0-9]*.hea"))[:3]
    return read_all(paths, TWELVE)


@pytest.mark.parametrize("change", SURE)
def test_every_changed_copy_of_a_demo_recording_is_found(demo, change):
    assert share_of_copies(demo, change, TWELVE) == 1


@pytest.mark.parametrize("change", SURE)
def test_every_changed_copy_of_a_real_recording_is_found(real, change):
    assert share_of_copies(real, change, TWELVE) == 1


def test_twins_at_100_hz_and_wrong_gains_are_found_ten_of_ten(data_dir):
    """PTB-XL 1 to 10 are CinC HR00001 to HR00010, whose headers state 200 in place of
    1000 per mV."""
    folder = data_dir / "ptbxl"
    high = read_all(sorted((folder / "records500").rglob("*.hea")), TWELVE)
    low_paths = [
        folder / "records100" / one.record_id.replace("_hr", "_lr") for one in high
    ]
    if not low_paths[0].with_suffix(".hea").exists():
        low_paths = []
        for one in high:
            name = one.record_id.rpartition("/")[2].replace("_hr", "_lr")
            low_paths += (folder / "records100").rglob(f"{name}.hea")
    low = read_all([path.with_suffix(".hea") for path in low_paths], TWELVE)
    wrong = [dataclasses.replace(one, signal=5 * one.signal) for one in high]
    assert len(high) == len(low) == 10
    pairs = search_copies(stored([*high, *low, *wrong], TWELVE))
    groups = copy_groups(30, pairs).reshape(3, 10)
    assert (groups[0] == groups[1]).all() and (groups[0] == groups[2]).all()
    assert len(set(groups[0])) == 10 and groups.min() >= 0


def test_different_real_recordings_are_no_copies(data_dir):
    paths = sorted((data_dir / "ptbxl" / "records100").rglob("*.hea"))[:50]
    paths += sorted((data_dir / "code15_chagas").glob("*.hea"))[:30]
    paths += sorted((data_dir / "cinc2020_2021").glob("*.hea"))
    recordings = read_all(paths, TWELVE)
    assert len(recordings) > 110
    assert search_copies(stored(recordings, TWELVE)).empty


def test_different_beats_of_one_patient_are_no_copies(data_dir):
    """180 pieces of half an hour of a very regular rhythm."""
    (whole,) = read_all([data_dir / "mitdb" / "100.hea"], PrepareConfig())
    pieces = whole.signal[:, : 180 * 3600].reshape(2, 180, 3600).swapaxes(0, 1)
    bounds = np.tile([0, 3600], (180, 1))
    assert search_copies(StoredSignals(pieces.copy(), bounds, 360.0)).empty


def test_equal_beats_at_one_rate_are_no_copies():
    """A pacemaker: the same beat every 0.8 s, with noise of 10 uV of its own in each
    recording; over 3 s the recordings correlate with 0.999, and so does each of them
    with itself one beat later."""
    t = np.arange(5000) / 500
    phase = (t + 0.4) % 0.8 - 0.4
    qrs, t_wave = phase / 0.012, (phase - 0.28) / 0.06
    beat = np.exp(-(qrs**2)) + 0.3 * np.exp(-(t_wave**2))
    noise = np.random.default_rng(0).normal(0, 0.01, (6, 2, 5000))
    signals = (beat + noise).astype(np.float32)
    bounds = np.tile([0, 5000], (6, 1))
    assert search_copies(StoredSignals(signals, bounds, 500.0)).empty
    # With 1 uV more noise the copy of such a recording is found nevertheless.
    more = np.random.default_rng(1).normal(0, 0.001, (6, 2, 5000)).astype(np.float32)
    both = np.concatenate([signals, signals + more])
    pairs = search_copies(StoredSignals(both, np.tile([0, 5000], (12, 1)), 500.0))
    assert pairs["row"].tolist() == list(range(6))
    assert pairs["copy_row"].tolist() == list(range(6, 12))


def test_flat_leads_zeros_steps_and_calibration_pulses_are_no_copies(demo):
    signals = stored(demo, TWELVE).signals.copy()
    signals[:, 1:4] = 0
    signals[:, 4:6] = 0.3
    pulse = np.zeros(5000, dtype=np.float32)
    pulse[2000:2100] = 1
    signals[:, 6:9] = pulse
    signals[:, 9:] = (np.arange(5000) > 2500).astype(np.float32)
    bounds = np.tile([0, 5000], (len(signals), 1))
    assert search_copies(StoredSignals(signals, bounds, 500.0)).empty
    zeros = StoredSignals(np.zeros_like(signals), bounds, 500.0)
    assert search_copies(zeros).empty


def test_the_correlation_ignores_sign_and_does_not_count_silence():
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(2, 1, 900))
    assert local_correlation(one, one, 3)[0] == pytest.approx(1)
    assert local_correlation(one, -one, 8)[0] == pytest.approx(1)
    assert local_correlation(one, other, 3)[0] < 0.4
    half = np.where(np.arange(900) < 450, other, one)
    assert local_correlation(one, half, 3)[0] == pytest.approx(1)
    assert local_correlation(one, half, 3)[1] >= 450
    assert local_correlation(one, half, 8)[0] < 0.75
    assert local_correlation(one[:, :200], one[:, :200], 3) == (0, 0)
    pulse = np.where(np.arange(900) // 10 == 40, 1.0, 0.0)[None]
    assert local_correlation(pulse, pulse, 3)[0] < 0.2


def test_copies_are_grouped_through_each_other():
    pairs = pd.DataFrame({"row": [0, 3], "copy_row": [3, 5]})
    assert copy_groups(6, pairs).tolist() == [0, -1, -1, 0, -1, 0]
    records = with_copies(table([""] * 6), pairs)
    assert records["copy_group"].tolist() == ["copy-0", "", "", "copy-0", "", "copy-0"]


def test_copies_stay_in_one_part_and_are_reported_in_two():
    pairs = pd.DataFrame({"row": range(0, 90, 3), "copy_row": range(1, 90, 3)})
    records = with_copies(table([""] * 90), pairs)
    splits = make_splits(records, np.arange(90) % 2, SplitConfig())
    for rows in splits.parts.values():
        first = rows[rows % 3 == 0]
        assert np.isin(first + 1, rows).all()
        assert len(first) == (rows % 3 == 1).sum()
    torn = {"train": np.array([0, 2]), "test": np.array([1, 5])}
    assert find_leakage(records, torn).to_numpy().tolist() == [
        ["copy", "copy-0", "train|test", "00000|00001"]
    ]


@pytest.fixture
def store(tmp_path, demo):
    """A store of six recordings, the last of them again 100 ms later, with half the
    gain."""
    shifted = demo[-1].signal[:, 50:] / 2
    again = dataclasses.replace(demo[-1], signal=shifted, record_id="again")
    for recording in (*demo, again):
        write_record(tmp_path / "records", recording)
    manifest = find_records("folder", tmp_path)
    return prepare_store(manifest, PrepareConfig(n_jobs=1), tmp_path / "store")


def test_copies_are_searched_once_per_store(store, monkeypatch):
    pairs = find_copies(store)
    assert len(pairs) == 1
    ids = store.records["record_id"]
    names = {ids[pairs["row"][0]], ids[pairs["copy_row"][0]]}
    assert any(name.endswith("again") for name in names) and len(names) == 2
    # Both are centred: 50 samples less move the middle by 25, the later start by 50.
    assert abs(pairs["lag_s"][0]) == pytest.approx(0.05, abs=0.003)
    assert pairs["correlation"][0] > 0.999

    monkeypatch.setattr(copies_module, "search_copies", None)  # not called again
    pd.testing.assert_frame_equal(find_copies(store), pairs)


def test_a_result_of_another_store_or_version_is_not_used(store, monkeypatch):
    path = store.folder / FILE_NAME
    pairs = find_copies(store)
    files.write_sealed(path, files.read_sealed(path) | {"pairs": []})
    assert find_copies(store).empty  # what is written is used
    monkeypatch.setattr(copies_module, "VERSION", copies_module.VERSION + 1)
    pd.testing.assert_frame_equal(find_copies(store), pairs)
    row, copy_row = pairs[["row", "copy_row"]].iloc[0]
    damaged = path.read_text().replace(f"[{row}.0, {copy_row}.0", f"[{row}.0, 1.0")
    assert damaged != path.read_text()
    for text in (damaged, '{"inputs": '):
        path.write_text(text)
        pd.testing.assert_frame_equal(find_copies(store), pairs)


def test_the_report_names_copies_and_those_with_different_labels(store):
    pairs = find_copies(store)
    records = with_copies(store.records, pairs).assign(label="NORM")
    records.loc[pairs["copy_row"][0], "label"] = "AF"
    report = describe_copies(pairs, records)
    assert (report["recordings"], report["groups"]) == (2, 1)
    assert report["groups_with_different_labels"] == 1
    assert "2 recordings have at least 3 s of signal in common" in report["summary"]
    assert set(report["pairs"][0]["labels"].split(" / ")) == {"AF", "NORM"}
    nothing = describe_copies(pairs.head(0), records.assign(copy_group=""))
    assert nothing["summary"] == "" and nothing["pairs"] == []


def test_signals_that_are_too_short_are_named():
    signals = StoredSignals(np.zeros((2, 1, 1000)), np.tile([0, 1000], (2, 1)), 500.0)
    assert search_copies(signals).empty
    finding, advice = too_short_for_copies(signals)
    assert "2 s long" in finding and "TARGET_SAMPLES to 1700" in advice
    assert too_short_for_copies(dataclasses.replace(signals, fs=250.0)) is None
