"""Shards: rejected recordings, windows of one file, shards without records."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from store_helpers import TWELVE, manifest_of, wave_steps, write_cohort, write_wfdb

from ecgnb.data.config import PrepareConfig
from ecgnb.data.store import shard as shard_module
from ecgnb.data.store.preparation import prepare_store

SMALL = PrepareConfig(target_fs=500, target_samples=1000, shard_size=4, n_jobs=1)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Ten good records."""
    return write_cohort(tmp_path_factory.mktemp("records"), 10)


@pytest.fixture
def bad_cohort(tmp_path):
    """Good records among every kind of bad one, and the reason for which each must be
    rejected."""
    folder = tmp_path / "bad"
    good = [
        write_wfdb(folder, f"good{number}", wave_steps(number)) for number in range(5)
    ]
    bad = {
        "nan": write_wfdb(
            folder, "holes", np.where(np.arange(5000) % 10 == 0, -32768, wave_steps(20))
        ),
        "flat": write_wfdb(folder, "zeros", np.zeros((12, 5000))),
        "rate": write_wfdb(folder, "slow", wave_steps(21), fs=10),
        "too_short": write_wfdb(folder, "short", wave_steps(22, n_samples=400)),
        "missing_leads": write_wfdb(
            folder, "two", wave_steps(23, 2), leads=("V1", "V2")
        ),
        "header": folder / "garbled.hea",
        "truncated": write_wfdb(folder, "cut", wave_steps(24)),
        "text": folder / "words.csv",
        "missing_file": folder / "nowhere.hea",
    }
    bad["header"].write_text("garbled twelve leads\n\x00", encoding="utf-8")
    (folder / "cut.dat").write_bytes((folder / "cut.dat").read_bytes()[:1000])
    rows = ",".join(TWELVE) + "\n" + ("0.1," * 11 + "n/a here\n") * 600
    bad["text"].write_text(rows, encoding="utf-8")
    paths = [*good[:2], *bad.values(), *good[2:]]
    table = manifest_of(paths)
    table.loc[table["record_id"] == "words", "fs"] = 500.0
    return table, {path.stem: reason for reason, path in bad.items()}


def test_bad_recordings_are_rejected_and_stop_nothing(bad_cohort, tmp_path):
    table, reasons = bad_cohort
    store = prepare_store(
        table, dataclasses.replace(SMALL, leads=TWELVE), tmp_path / "store"
    )
    assert store.records["record_id"].tolist() == [
        f"good{number}" for number in range(5)
    ]
    assert (
        dict(zip(store.rejected["record_id"], store.rejected["reason"], strict=True))
        == reasons
    )
    assert (store.rejected["message"].str.len() > 20).all()
    assert list(store.rejected.columns) == [
        "dataset",
        "record_id",
        "path",
        "reason",
        "message",
    ]
    np.testing.assert_allclose(
        store.read([4])[0], wave_steps(4)[:, 2000:3000] / 1000, atol=1e-4
    )
    store.verify()


def test_an_unexpected_error_is_a_rejection_too(manifest, tmp_path, monkeypatch):
    read = shard_module.read_recording

    def fail_on_one(path, **options):
        if path.endswith("00007.hea"):
            raise ZeroDivisionError("a fault\nof the reader")
        return read(path, **options)

    monkeypatch.setattr(shard_module, "read_recording", fail_on_one)
    store = prepare_store(manifest, SMALL, tmp_path / "store")
    assert store.rejected[["record_id", "reason", "message"]].values.tolist() == [
        ["00007", "unreadable", "ZeroDivisionError: a fault of the reader"]
    ]


def test_a_shard_without_a_usable_recording_is_left_out(manifest, tmp_path):
    flat = [
        write_wfdb(tmp_path / "r", f"flat{n}", np.zeros((2, 1000)), leads=("I", "II"))
        for n in range(4)
    ]
    table = manifest_of([*manifest["path"][:4], *flat, *manifest["path"][4:6]])
    store = prepare_store(table, SMALL, tmp_path / "store")
    assert store.records["record_id"].tolist() == [
        f"0000{number}" for number in range(6)
    ]
    assert len(store.rejected) == 4
    assert store.read([0, 5]).shape == (2, 2, 1000)
    store.verify()


def test_windows_of_one_file_are_read_at_once(tmp_path, monkeypatch):
    steps = wave_steps(3, 2, 30_000)
    header = write_wfdb(tmp_path / "r", "long", steps, leads=("I", "II"))
    starts = list(range(0, 29_001, 1000))
    table = manifest_of(
        [header] * 30,
        record_id=[f"w{start}" for start in starts],
        start=starts,
        n_samples=1000,
    )
    calls = []
    read = shard_module.read_recording
    monkeypatch.setattr(
        shard_module, "read_recording", lambda *a, **o: calls.append(o) or read(*a, **o)
    )
    store = prepare_store(
        table, dataclasses.replace(SMALL, shard_size=15), tmp_path / "store"
    )
    assert [(call["start"], call["n_samples"]) for call in calls] == [
        (0, 15_000),
        (15_000, 15_000),
    ]
    for row, start in enumerate(starts):
        np.testing.assert_allclose(
            store.read([row])[0], steps[:, start : start + 1000] / 1000, atol=1e-4
        )
    assert (store.records["original_samples"] == 1000).all()


def test_a_window_beyond_the_end_rejects_only_itself(tmp_path):
    header = write_wfdb(
        tmp_path / "r", "long", wave_steps(3, 2, 2500), leads=("I", "II")
    )
    table = manifest_of(
        [header] * 3, record_id=["a", "b", "c"], start=[0, 1000, 2000], n_samples=1000
    )
    store = prepare_store(table, SMALL, tmp_path / "store")
    assert store.records["record_id"].tolist() == ["a", "b"]
    assert store.rejected[["record_id", "reason"]].values.tolist() == [["c", "window"]]
