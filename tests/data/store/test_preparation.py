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
from store_helpers import (
    TWELVE,
    content,
    manifest_of,
    wave_steps,
    write_cohort,
    write_wfdb,
)

from ecgnb.core import files
from ecgnb.core.errors import StoreError
from ecgnb.data.config import PrepareConfig
from ecgnb.data.manifest import write_manifest
from ecgnb.data.store import preparation as prepare_module
from ecgnb.data.store import shard as shard_module
from ecgnb.data.store.preparation import prepare_store
from ecgnb.data.store.rows import limit_records, store_fingerprint, with_leads

SMALL = PrepareConfig(target_fs=500, target_samples=1000, shard_size=4, n_jobs=1)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Thirty good records."""
    return write_cohort(tmp_path_factory.mktemp("records"), 30)


@pytest.fixture(scope="module")
def undisturbed(manifest, tmp_path_factory):
    """Content of the store that one process makes in one go."""
    store = prepare_store(
        manifest, SMALL, tmp_path_factory.mktemp("undisturbed") / "store"
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


def test_a_pool_makes_the_same_bytes(manifest, undisturbed, tmp_path):
    store = prepare_store(
        manifest, dataclasses.replace(SMALL, n_jobs=2), tmp_path / "store"
    )
    assert content(store.folder) == undisturbed


@pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
def test_the_pool_is_that_of_joblib(manifest, undisturbed, tmp_path, backend):
    with joblib.parallel_config(backend=backend):
        store = prepare_store(
            manifest, dataclasses.replace(SMALL, n_jobs=2), tmp_path / "store"
        )
    assert content(store.folder) == undisturbed


def test_what_is_done_is_not_done_again(manifest, tmp_path, monkeypatch):
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


def test_a_damaged_shard_is_made_again_and_only_that(manifest, undisturbed, tmp_path):
    folder = tmp_path / "store"
    prepare_store(manifest, SMALL, folder)
    before = (folder / "signals-001.npy").stat().st_mtime_ns
    (folder / "signals-002.npy").write_bytes(b"half")
    (folder / "shard-004.json").write_text("{", encoding="utf-8")
    prepare_store(manifest, SMALL, folder)
    assert content(folder) == undisturbed
    assert (folder / "signals-001.npy").stat().st_mtime_ns == before


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
        time.sleep(0.001)
    time.sleep(delay)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def survives_kills(tmp_path: Path, n_kills: int, n_jobs: int, seed: int) -> None:
    manifest = write_cohort(tmp_path / "records", 400)
    expected = content(prepare_store(manifest, SMALL, tmp_path / "undisturbed").folder)
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
def test_killed_ten_times_with_a_pool_gives_the_same_bytes(tmp_path):
    survives_kills(tmp_path, n_kills=10, n_jobs=2, seed=1)


def test_two_preparations_at_once_do_no_harm(tmp_path):
    manifest = write_cohort(tmp_path / "records", 200)
    expected = content(prepare_store(manifest, SMALL, tmp_path / "undisturbed").folder)
    folder = tmp_path / "store"
    both = [start_preparation(tmp_path, manifest, folder, n_jobs=1) for _ in range(2)]
    assert [process.communicate()[1].decode() for process in both] == ["", ""]
    assert [process.returncode for process in both] == [0, 0]
    assert content(folder) == expected


def test_a_temporary_file_swept_away_is_written_again(
    manifest, undisturbed, tmp_path, monkeypatch
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
    assert content(tmp_path / "store") == undisturbed


def test_leftovers_of_a_kill_are_removed(manifest, undisturbed, tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / f".tmp-{os.getpid()}-deadbeef-signals-000.npy").write_bytes(
        b"half of a shard"
    )
    prepare_store(manifest, SMALL, folder)
    assert content(folder) == undisturbed


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


def test_the_fingerprint_follows_inputs_and_not_speed(tmp_path):
    manifest = write_cohort(tmp_path, 3)
    first = store_fingerprint(manifest, SMALL)
    assert store_fingerprint(manifest, dataclasses.replace(SMALL, n_jobs=-1)) == first
    assert store_fingerprint(manifest.assign(label="AF"), SMALL) == first
    assert (
        store_fingerprint(manifest, dataclasses.replace(SMALL, leads=("I", "II")))
        == first
    )
    assert (
        store_fingerprint(manifest, dataclasses.replace(SMALL, crop="start")) != first
    )
    assert store_fingerprint(manifest.assign(patient_id="p"), SMALL) != first
    assert store_fingerprint(manifest.iloc[::-1], SMALL) != first
    os.utime(tmp_path / "00001.dat", ns=(1, 1))
    assert store_fingerprint(manifest, SMALL) != first


def test_the_fingerprint_stays_when_the_recordings_are_moved(tmp_path):
    manifest = write_cohort(tmp_path / "here", 3)
    first = store_fingerprint(manifest, SMALL)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = manifest.assign(path=manifest["path"].str.replace("/here/", "/there/"))
    assert store_fingerprint(moved, SMALL) == first
    assert store_fingerprint(moved.assign(start=1), SMALL) != first


def test_the_fingerprint_watches_all_files_of_a_recording(tmp_path):
    paths = [
        write_wfdb(tmp_path, name, wave_steps(1), leads=TWELVE)
        for name in ("a", "b", "part")
    ]
    (tmp_path / "a.xyz").write_bytes(b"12")
    header = (
        paths[1].read_text(encoding="utf-8").replace("b.dat", "c.dat")
    )  # signals of another name
    (tmp_path / "b.dat").rename(tmp_path / "c.dat")
    paths[1].write_text(header, encoding="utf-8")
    (tmp_path / "long.hea").write_text(
        "# two segments\nlong/2 12 500 10000\npart 5000\n~ 5000\n", encoding="utf-8"
    )
    manifest = manifest_of([*paths[:2], tmp_path / "long.hea"], leads="|".join(TWELVE))
    (tmp_path / "d.csv").write_text("I\n1\n", encoding="utf-8")
    seen = {store_fingerprint(manifest, SMALL)}
    for number, name in enumerate(
        ("a.xyz", "a.dat", "c.dat", "part.dat", "part.hea", "long.hea"), start=1
    ):
        os.utime(tmp_path / name, ns=(number, number))
        seen.add(store_fingerprint(manifest, SMALL))
    assert len(seen) == 7
    for name in ("d.csv", "e.dat"):  # no file of these recordings
        (tmp_path / name).write_bytes(b"123")
        assert store_fingerprint(manifest, SMALL) in seen
    (tmp_path / "a.xyz").unlink()
    assert store_fingerprint(manifest, SMALL) not in seen


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


def test_bad_recordings_are_named_and_stop_nothing(bad_cohort, tmp_path):
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


def test_an_error_that_nobody_foresaw_is_a_rejection_too(
    manifest, tmp_path, monkeypatch
):
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


def test_a_record_that_stands_in_the_manifest_twice_is_used_once(manifest, tmp_path):
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


def test_a_window_beyond_the_end_costs_only_itself(tmp_path):
    header = write_wfdb(
        tmp_path / "r", "long", wave_steps(3, 2, 2500), leads=("I", "II")
    )
    table = manifest_of(
        [header] * 3, record_id=["a", "b", "c"], start=[0, 1000, 2000], n_samples=1000
    )
    store = prepare_store(table, SMALL, tmp_path / "store")
    assert store.records["record_id"].tolist() == ["a", "b"]
    assert store.rejected[["record_id", "reason"]].values.tolist() == [["c", "window"]]


def test_the_leads_of_the_data_set_are_found_and_put_in_order(tmp_path):
    order = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
    paths = [
        write_wfdb(tmp_path / "r", f"{number}", wave_steps(number), leads=order)
        for number in range(3)
    ]
    store = prepare_store(manifest_of(paths), SMALL, tmp_path / "store")
    assert store.leads == TWELVE
    np.testing.assert_allclose(
        store.read([0])[0, 4], wave_steps(0)[5, 2000:3000] / 1000, atol=1e-4
    )
    told = manifest_of(paths, leads=["i|ii", "I|II", "V1"])
    assert prepare_store(told, SMALL, tmp_path / "told").leads == ("I", "II")


@pytest.mark.parametrize(
    ("told", "leads"),
    [
        (["MLII|V5", "MLII|V2"] * 5, ("MLII",)),  # one lead is fixed, the other changes
        (
            ["I|II|III"] * 8 + ["II"] * 2,
            ("I", "II", "III"),
        ),  # two lack leads: they are the odd ones
        (["II|V1"] * 5 + ["II|V2"] * 4 + ["V2"], ("II",)),
        (["V2|V1"] * 6 + ["I"] * 5, ("V1", "V2")),
        (["Vx|I", "vx|i", "V1"], ("Vx", "I")),
    ],
)
def test_the_leads_of_a_mixed_data_set(told, leads):
    table = manifest_of([f"{number}.hea" for number in range(len(told))], leads=told)
    assert with_leads(table, SMALL).leads == leads
    assert with_leads(table, dataclasses.replace(SMALL, leads=("v6", "I"))).leads == (
        "V6",
        "I",
    )


def test_a_full_disk_is_told_before_the_start(manifest, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        prepare_module.shutil, "disk_usage", lambda path: usage(10**6, 990_000, 10_000)
    )
    with pytest.raises(StoreError, match=r"is full: 0\.15 MB needed, 0\.01 MB free"):
        prepare_store(manifest, SMALL, tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_on_the_way_leaves_nothing_half_written(
    manifest, undisturbed, tmp_path, monkeypatch, code
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
    assert content(tmp_path / "store") == undisturbed


def test_a_folder_that_cannot_be_written_is_told(manifest, tmp_path):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(StoreError, match=r"cannot be written.*Choose a folder"):
        prepare_store(manifest, SMALL, tmp_path / "file" / "store")


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="root may write anywhere",
)
def test_a_read_only_folder_is_told(manifest, tmp_path):
    folder = tmp_path / "store"
    folder.mkdir(mode=0o555)
    with pytest.raises(StoreError, match="cannot be written"):
        prepare_store(manifest, SMALL, folder)


def test_permission_refused_on_the_way_is_told(manifest, tmp_path, monkeypatch):
    def refuse(file, rows, config):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shard_module, "write_signals", refuse)
    with pytest.raises(StoreError, match=r"cannot be written.*permissions"):
        prepare_store(manifest, SMALL, tmp_path / "store")


def test_limit_draws_the_same_rows_in_their_order(manifest):
    first = limit_records(manifest, 10, seed=3)
    assert len(first) == 10
    assert first["record_id"].is_monotonic_increasing
    assert first.index.tolist() == list(range(10))
    assert (
        first["record_id"].tolist()
        == limit_records(manifest, 10, seed=3)["record_id"].tolist()
    )
    assert (
        first["record_id"].tolist()
        != limit_records(manifest, 10, seed=4)["record_id"].tolist()
    )
    for limit in (0, 30, 99):
        assert limit_records(manifest, limit) is manifest


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
