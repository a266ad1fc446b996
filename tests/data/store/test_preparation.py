"""Preparation: layout, parallel, interrupted, damaged and refused stores."""

from __future__ import annotations

import dataclasses
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import joblib
import numpy as np
import pytest
from kills import KILLS
from store_helpers import (
    TWELVE,
    content,
    manifest_of,
    wave_steps,
    write_cohort,
    write_wfdb,
)

from ecgnb.core import files, transient
from ecgnb.core.errors import StoreError, TryAgainError
from ecgnb.data.config import PrepareConfig
from ecgnb.data.manifest import read_manifest, write_manifest
from ecgnb.data.readers.base import explained_os_errors
from ecgnb.data.readers.wfdb_record import WfdbReader
from ecgnb.data.store import preparation as prepare_module
from ecgnb.data.store import shard as shard_module
from ecgnb.data.store.preparation import prepare_store
from ecgnb.data.store.rows import store_fingerprint

SMALL = PrepareConfig(target_fs=500, target_samples=1000, shard_size=4, n_jobs=1)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Thirty good records."""
    return write_cohort(tmp_path_factory.mktemp("records"), 30)


@pytest.fixture(scope="module")
def uninterrupted(manifest, tmp_path_factory):
    """Content of the store that one process makes in one go."""
    store = prepare_store(
        manifest, SMALL, tmp_path_factory.mktemp("uninterrupted") / "store"
    )
    return content(store.folder)


def test_the_layout(manifest, tmp_path):
    store = prepare_store(manifest, SMALL, tmp_path / "store")
    expected = {"manifest.json", "records.csv", "rejected.csv"}
    for number in range(8):
        expected |= {
            f"signals-{number:03d}.npy",
            f"scales-{number:03d}.npy",
            f"shard-{number:03d}.json",
        }
    assert {path.name for path in store.folder.iterdir()} == expected
    described = files.read_json(store.folder / "manifest.json")
    assert described["leads"] == ["I", "II"]
    assert (described["fs"], described["dtype"], described["n_records"]) == (
        500.0,
        "int16",
        30,
    )
    assert [shard["n"] for shard in described["shards"]] == [4] * 7 + [2]
    assert all(len(shard["sha256"]) == 64 for shard in described["shards"])
    assert (
        described["fingerprint"]
        == store.fingerprint
        == store_fingerprint(manifest, SMALL)
    )
    assert described["config"]["target_samples"] == 1000
    store.verify()


def test_a_pool_makes_the_same_bytes(manifest, uninterrupted, tmp_path):
    store = prepare_store(
        manifest, dataclasses.replace(SMALL, n_jobs=2), tmp_path / "store"
    )
    assert content(store.folder) == uninterrupted


@pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
def test_the_pool_is_that_of_joblib(manifest, uninterrupted, tmp_path, backend):
    with joblib.parallel_config(backend=backend):
        store = prepare_store(
            manifest, dataclasses.replace(SMALL, n_jobs=2), tmp_path / "store"
        )
    assert content(store.folder) == uninterrupted


def test_a_finished_store_is_not_made_again(manifest, tmp_path, monkeypatch):
    folder = tmp_path / "store"
    prepare_store(manifest, SMALL, folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(
        prepare_module,
        "make_shard",
        lambda *task: pytest.fail("a shard was made again"),
    )
    prepare_store(manifest, SMALL, folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_damaged_shard_is_made_again_and_only_that(manifest, uninterrupted, tmp_path):
    folder = tmp_path / "store"
    prepare_store(manifest, SMALL, folder)
    before = (folder / "signals-001.npy").stat().st_mtime_ns
    (folder / "signals-002.npy").write_bytes(b"half")
    (folder / "shard-004.json").write_text("{", encoding="utf-8")
    prepare_store(manifest, SMALL, folder)
    assert content(folder) == uninterrupted
    assert (folder / "signals-001.npy").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "name", ["signals-002.npy", "scales-002.npy", "shard-002.json", "records.csv"]
)
@pytest.mark.parametrize("position", [-9, 3])
def test_a_flipped_bit_is_found_and_its_shard_made_again(
    manifest, uninterrupted, tmp_path, name, position
):
    folder = tmp_path / "store"
    prepare_store(manifest, SMALL, folder)
    before = (folder / "signals-001.npy").stat().st_mtime_ns
    damaged = bytearray((folder / name).read_bytes())
    damaged[position] ^= 1  # a number, or the header
    (folder / name).write_bytes(damaged)
    prepare_store(manifest, SMALL, folder).verify()
    assert content(folder) == uninterrupted
    assert (folder / "signals-001.npy").stat().st_mtime_ns == before


PASSING = [
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.ESTALE, "Stale file handle"),
    OSError(errno.ETIMEDOUT, "Connection timed out"),
    MemoryError(),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("failures", [2, 99])
def test_an_error_that_may_pass_rejects_nothing(
    manifest, uninterrupted, tmp_path, monkeypatch, error, failures
):
    """It is waited for; if it stays, no store is finished, and the same call goes on."""
    read, failed = WfdbReader.read, []

    def fail(reader, path, request):
        if path.stem == "00005" and len(failed) < failures:
            failed.append(path)
            with explained_os_errors(path):
                raise error
        return read(reader, path, request)

    monkeypatch.setattr(transient, "WAIT_S", 0.0)
    folder = tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(WfdbReader, "read", fail)
        if failures > transient.ATTEMPTS:
            with pytest.raises(
                TryAgainError, match=r"00005\.hea cannot be used at the"
            ):
                prepare_store(manifest, SMALL, folder)
            assert not (folder / "manifest.json").exists()
            assert not (folder / "shard-001.json").exists()
        else:
            prepare_store(manifest, SMALL, folder)
    assert len(failed) == min(failures, transient.ATTEMPTS)
    assert prepare_store(manifest, SMALL, folder).rejected.empty
    assert content(folder) == uninterrupted


def test_a_drive_that_is_gone_rejects_nothing(tmp_path):
    manifest = write_cohort(tmp_path / "drive", 6)
    expected = content(prepare_store(manifest, SMALL, tmp_path / "whole").folder)
    (tmp_path / "drive").rename(tmp_path / "unplugged")
    for make in (lambda: None, (tmp_path / "drive").mkdir):  # an empty mount point
        make()
        with pytest.raises(
            TryAgainError, match=r"missing or empty\. Connect the drive"
        ):
            prepare_store(manifest, SMALL, tmp_path / "store")
        assert not list((tmp_path / "store").glob("*.json"))
    (tmp_path / "drive").rmdir()
    (tmp_path / "unplugged").rename(tmp_path / "drive")
    prepare_store(manifest, SMALL, tmp_path / "store")
    assert content(tmp_path / "store") == expected


def test_the_leads_are_not_those_of_another_file_by_a_failing_disk(
    manifest, tmp_path, monkeypatch
):
    def fail(reader, path, request):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(transient, "WAIT_S", 0.0)
    monkeypatch.setattr(WfdbReader, "read", fail)
    with pytest.raises(TryAgainError, match="EIO"):
        prepare_store(manifest, SMALL, tmp_path / "store")


PREPARE = """
import sys
from ecgnb.data.manifest import read_manifest
from ecgnb.data.config import PrepareConfig
from ecgnb.data.store.preparation import prepare_store
if __name__ == "__main__":
    config = PrepareConfig(target_fs=500, target_samples=1000, shard_size=4, n_jobs=int(sys.argv[3]))
    prepare_store(read_manifest(sys.argv[1]), config, sys.argv[2])
"""


def start_preparation(
    tmp_path: Path, manifest, folder: Path, n_jobs: int
) -> subprocess.Popen:
    (tmp_path / "prepare.py").write_text(PREPARE, encoding="utf-8")
    write_manifest(tmp_path / "manifest.csv", manifest)
    arguments = [str(tmp_path / name) for name in ("prepare.py", "manifest.csv")]
    command = [sys.executable, *arguments, str(folder), str(n_jobs)]
    root = Path(prepare_module.__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "ECGNB_PROGRESS": "quiet"}
    return subprocess.Popen(
        command, env=environment, start_new_session=True, stderr=subprocess.PIPE
    )


def kill_after(
    process: subprocess.Popen, folder: Path, n_shards: int, delay: float
) -> None:
    """Kill the whole process group once so many shards are done, and a moment later."""
    while process.poll() is None and len(list(folder.glob("shard-*.json"))) < n_shards:
        time.sleep(0.005)
    time.sleep(delay)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def survives_kills(tmp_path: Path, n_kills: int, n_jobs: int, seed: int) -> None:
    manifest = write_cohort(tmp_path / "records", 400)
    expected = content(
        prepare_store(manifest, SMALL, tmp_path / "uninterrupted").folder
    )
    folder, chance, killed = tmp_path / "store", random.Random(seed), 0
    for number in range(n_kills):
        process = start_preparation(tmp_path, manifest, folder, n_jobs)
        target = (number + 1) * 90 // (n_kills + 1) + chance.randrange(-3, 4)
        kill_after(process, folder, max(1, target), chance.uniform(0, 0.01))
        killed += process.returncode == -signal.SIGKILL
        assert not (folder / "manifest.json").exists() or process.returncode == 0
    assert killed >= (n_kills + 1) // 2, "too few kills landed to show anything"
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("shard-*.json")}
    finished |= {
        path.with_name(f"{what}-{path.stem[6:]}.npy"): path.with_name(
            f"{what}-{path.stem[6:]}.npy"
        )
        .stat()
        .st_mtime_ns
        for path in list(finished)
        for what in ("signals", "scales")
    }
    prepare_store(manifest, SMALL, folder)
    assert content(folder) == expected
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


@pytest.mark.skipif(
    os.name == "nt", reason="process groups are killed by POSIX signals"
)
def test_killed_twice_and_run_again_gives_the_same_bytes(tmp_path):
    survives_kills(tmp_path, n_kills=2, n_jobs=1, seed=0)


@pytest.mark.slow
@pytest.mark.skipif(
    os.name == "nt", reason="process groups are killed by POSIX signals"
)
def test_killed_often_with_a_pool_gives_the_same_bytes(tmp_path):
    survives_kills(tmp_path, n_kills=KILLS, n_jobs=2, seed=1)


def test_two_preparations_at_once_give_the_same_bytes(tmp_path):
    manifest = write_cohort(tmp_path / "records", 200)
    expected = content(
        prepare_store(manifest, SMALL, tmp_path / "uninterrupted").folder
    )
    folder = tmp_path / "store"
    both = [start_preparation(tmp_path, manifest, folder, n_jobs=1) for _ in range(2)]
    assert [process.communicate()[1].decode() for process in both] == ["", ""]
    assert [process.returncode for process in both] == [0, 0]
    assert content(folder) == expected


def test_a_removed_temporary_file_is_written_again(
    manifest, uninterrupted, tmp_path, monkeypatch
):
    swept = []
    write = shard_module.write_signals

    def sweep_once(file, rows, config):
        shard = write(file, rows, config)
        if rows[0].record_id == "00008" and not swept:
            swept.append(files.remove_leftovers(tmp_path / "store"))
        return shard

    monkeypatch.setattr(shard_module, "write_signals", sweep_once)
    prepare_store(manifest, SMALL, tmp_path / "store")
    assert swept == [1]
    assert content(tmp_path / "store") == uninterrupted


def test_leftovers_of_a_kill_are_removed(manifest, uninterrupted, tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / f".tmp-{os.getpid()}-deadbeef-signals-000.npy").write_bytes(
        b"half of a shard"
    )
    prepare_store(manifest, SMALL, folder)
    assert content(folder) == uninterrupted


def test_a_folder_with_another_store_is_refused(manifest, tmp_path):
    prepare_store(manifest, SMALL, tmp_path / "store")
    with pytest.raises(StoreError, match="holds another store"):
        prepare_store(
            manifest, dataclasses.replace(SMALL, target_fs=250), tmp_path / "store"
        )
    (
        tmp_path / "store" / "manifest.json"
    ).unlink()  # half-finished stores keep their owner too
    with pytest.raises(StoreError, match="holds another store"):
        prepare_store(manifest.head(20), SMALL, tmp_path / "store")


def test_a_record_that_is_in_the_manifest_twice_is_used_once(manifest, tmp_path):
    twice = manifest.iloc[[0, 1, 2, 1]]
    store = prepare_store(twice, SMALL, tmp_path / "store")
    assert store.records["record_id"].tolist() == ["00000", "00001", "00002"]
    assert store.rejected[["record_id", "reason"]].values.tolist() == [
        ["00001", "duplicate"]
    ]


def test_two_data_sets_may_use_the_same_names(manifest, tmp_path):
    table = manifest.iloc[[0, 1, 2]].assign(record_id="1", dataset=["a", "b", "c"])
    assert len(prepare_store(table, SMALL, tmp_path / "store")) == 3


def test_an_empty_manifest_is_refused(manifest, tmp_path):
    with pytest.raises(StoreError, match="manifest is empty"):
        prepare_store(manifest.head(0), SMALL, tmp_path / "store")
    with pytest.raises(StoreError, match="lacks the columns path, leads"):
        prepare_store(
            manifest.drop(columns=["path", "leads"]), SMALL, tmp_path / "store"
        )
    assert not (tmp_path / "store").exists()


def test_nothing_usable_is_an_error_that_counts_the_reasons(tmp_path):
    paths = [
        write_wfdb(tmp_path / "r", f"{number}", np.zeros((2, 1000)), leads=("I", "II"))
        for number in range(6)
    ]
    with pytest.raises(
        StoreError, match="None of the 6 recordings can be used: 6 flat"
    ):
        prepare_store(manifest_of(paths), SMALL, tmp_path / "store")
    assert not (tmp_path / "store" / "manifest.json").exists()
    assert (
        len(
            (tmp_path / "store" / "rejected.csv")
            .read_text(encoding="utf-8")
            .splitlines()
        )
        == 7
    )


def test_a_full_disk_is_an_error_before_the_start(manifest, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        prepare_module.shutil, "disk_usage", lambda path: usage(10**6, 990_000, 10_000)
    )
    with pytest.raises(StoreError, match=r"is full: 0\.15 MB needed, 0\.01 MB free"):
        prepare_store(manifest, SMALL, tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_on_the_way_leaves_no_incomplete_file(
    manifest, uninterrupted, tmp_path, monkeypatch, code
):
    write = shard_module.write_signals

    def fail_in_the_third(file, rows, config):
        shard = write(file, rows, config)
        if rows[0].record_id == "00008":
            raise OSError(code, os.strerror(code))
        return shard

    monkeypatch.setattr(shard_module, "write_signals", fail_in_the_third)
    with pytest.raises(
        StoreError,
        match="is full: .* needed" if code == errno.ENOSPC else "cannot be written",
    ):
        prepare_store(manifest, SMALL, tmp_path / "store")
    kept = {path.name for path in (tmp_path / "store").iterdir()}
    assert kept == {f"{what}-00{n}.{end}" for n in (0, 1) for what, end in
                    (("signals", "npy"), ("scales", "npy"), ("shard", "json"))}  # fmt: skip
    monkeypatch.undo()
    prepare_store(manifest, SMALL, tmp_path / "store")
    assert content(tmp_path / "store") == uninterrupted


def test_a_folder_that_cannot_be_written_is_an_error(manifest, tmp_path):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(StoreError, match=r"cannot be written.*Choose a folder"):
        prepare_store(manifest, SMALL, tmp_path / "file" / "store")


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="root may write anywhere",
)
def test_a_read_only_folder_is_an_error(manifest, tmp_path):
    folder = tmp_path / "store"
    folder.mkdir(mode=0o555)
    with pytest.raises(StoreError, match="cannot be written"):
        prepare_store(manifest, SMALL, folder)


def test_permission_refused_on_the_way_is_an_error(manifest, tmp_path, monkeypatch):
    def refuse(file, rows, config):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shard_module, "write_signals", refuse)
    with pytest.raises(StoreError, match=r"cannot be written.*permissions"):
        prepare_store(manifest, SMALL, tmp_path / "store")


def test_real_recordings(data_dir, tmp_path):
    paths = (
        sorted((data_dir / "cinc2011_quality").glob("*.hea"))
        + sorted((data_dir / "ludb").glob("**/*.hea"))[:20]
    )
    paths += sorted((data_dir / "code15_chagas").glob("**/*.hea"))[:20]
    store = prepare_store(
        manifest_of(paths), PrepareConfig(n_jobs=1), tmp_path / "store"
    )
    assert store.leads == TWELVE
    assert len(store) + len(store.rejected) == len(paths)
    assert set(store.rejected["reason"]) <= {"flat", "nan", "rate"}
    assert np.isfinite(store.read(range(len(store)))).all()


def test_names_that_a_spreadsheet_would_execute_are_escaped_and_come_back(tmp_path):
    names = ("=1+1", "@SUM(A1)", "-4")
    paths = [
        write_wfdb(tmp_path / "records", f"r{number}", wave_steps(number))
        for number in range(3)
    ]
    paths[2].write_text("no header", encoding="utf-8")
    manifest = manifest_of(paths, record_id=names, patient_id="+p", fs=500.0)
    manifest["leads"] = "|".join(TWELVE)
    store = prepare_store(manifest, SMALL, tmp_path / "store")
    rows = (store.folder / "records.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1].split(",")[2] == "'=1+1" and rows[2].split(",")[2] == "'@SUM(A1)"
    assert store.records["record_id"].tolist() == ["=1+1", "@SUM(A1)"]
    assert set(store.records["patient_id"]) == {"+p"}
    assert store.rejected["record_id"].tolist() == ["-4"]
    write_manifest(tmp_path / "manifest.csv", manifest)
    assert read_manifest(tmp_path / "manifest.csv")["record_id"].tolist() == [*names]
