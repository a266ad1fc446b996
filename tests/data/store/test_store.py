"""`SignalStore`: gathering rows, threads, verification, refused stores."""

from __future__ import annotations

import json
import pickle
import shutil
import threading

import numpy as np
import pytest
from store_helpers import TWELVE, manifest_of, wave_steps, write_wfdb

from ecgnb.core.errors import StoreError
from ecgnb.core.files import write_sealed
from ecgnb.data.config import PrepareConfig
from ecgnb.data.store import store as store_module
from ecgnb.data.store.preparation import prepare_store
from ecgnb.data.store.shard import read_done
from ecgnb.data.store.store import SignalStore

N, SHARD = 23, 5
CONFIG = PrepareConfig(target_fs=500, target_samples=1000, shard_size=SHARD, n_jobs=1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A store of 23 records (the last two padded) in shards of five, and the signals in
    mV."""
    folder = tmp_path_factory.mktemp("cohort")
    lengths = [1000] * (N - 2) + [601, 700]
    steps = [wave_steps(number, 12, length) for number, length in enumerate(lengths)]
    paths = [
        write_wfdb(folder / "files", f"{number:03d}", signal)
        for number, signal in enumerate(steps)
    ]
    manifest = manifest_of(paths, fold=np.arange(N) % 10 + 1)
    return prepare_store(manifest, CONFIG, folder / "store"), [
        signal / np.float32(1000) for signal in steps
    ]


@pytest.fixture
def copy(cohort, tmp_path):
    """The folder of a copy that may be damaged."""
    return shutil.copytree(cohort[0].folder, tmp_path / "copy")


def test_a_store_has_the_shape_of_its_records(cohort):
    store, _ = cohort
    assert (len(store), store.n_leads, store.n_samples, store.fs, store.leads) == (
        N,
        12,
        1000,
        500.0,
        TWELVE,
    )
    assert (
        repr(store)
        == "SignalStore('store', 23 x 12 leads x 1000 samples at 500 Hz, int16)"
    )
    assert len(list(store.folder.glob("signals-*.npy"))) == 5


def test_read_gathers_any_rows_in_any_order(cohort):
    store, signals = cohort
    rows = [22, 0, 4, 5, 4, 19, 21]
    batch = store.read(rows)
    assert batch.dtype == np.float32
    assert batch.shape == (7, 12, 1000)
    for row, signal in zip(rows, batch, strict=True):
        start, stop = store.valid([row])[0]
        peak = np.abs(signals[row]).max(axis=1, keepdims=True)
        assert (
            np.abs(signal[:, start:stop] - signals[row]).max()
            <= (peak / 32767 / 2 * 1.01).max()
        )
        assert not signal[:, :start].any()
        assert not signal[:, stop:].any()


def test_read_into_an_array_and_of_nothing(cohort):
    store, _ = cohort
    out = np.full((3, 12, 1000), np.nan, dtype=np.float32)
    assert store.read(np.array([7, 7, 8]), out=out) is out
    np.testing.assert_array_equal(out, store.read([7, 7, 8]))
    assert store.read([]).shape == (0, 12, 1000)


def test_raw_times_scale_is_the_signal(cohort):
    store, _ = cohort
    raw, scales = store.raw([3, 20])
    assert (raw.dtype, scales.dtype, scales.shape) == (np.int16, np.float32, (2, 12, 1))
    np.testing.assert_array_equal(raw * scales, store.read([3, 20]))
    assert np.abs(raw).max(axis=-1).min() == 32767


def test_valid_excludes_the_padding(cohort):
    store, _ = cohort
    assert store.valid([0, 21, 22]).tolist() == [[0, 1000], [199, 800], [150, 850]]
    assert store.valid([0]).dtype == np.int64


def test_records_keep_text_as_text(cohort):
    records = cohort[0].records
    assert list(records.columns) == [
        "row", "dataset", "record_id", "path", "patient_id", "fold", "original_fs", "original_samples",
        "valid_start", "valid_stop", "flags", "signal_hash",
    ]  # fmt: skip
    assert records["record_id"].tolist()[:2] == ["000", "001"]
    assert records["row"].tolist() == list(range(N))
    assert records["fold"].dtype == "Int64"
    assert records["original_samples"].tolist()[-2:] == [601, 700]
    assert (records["original_fs"] == 500).all()
    assert (records["flags"] == "").all()
    assert records["signal_hash"].is_unique


@pytest.mark.parametrize("rows", [[-1], [N], [0, 99]])
def test_a_row_that_is_not_there_is_refused(cohort, rows):
    for read in (cohort[0].read, cohort[0].raw, cohort[0].valid):
        with pytest.raises(StoreError, match="23 records"):
            read(rows)


def test_few_maps_are_open_at_a_time(cohort, monkeypatch):
    monkeypatch.setattr(store_module, "MAX_MAPS", 2)
    store = SignalStore.open(cohort[0].folder)
    np.testing.assert_array_equal(store.read(range(N)), cohort[0].read(range(N)))
    assert len(store._maps) == 2


def test_threads_may_read_at_once(cohort, monkeypatch):
    monkeypatch.setattr(store_module, "MAX_MAPS", 1)
    store = SignalStore.open(cohort[0].folder)
    expected = cohort[0].read(range(N))
    wrong = []

    def work(seed: int) -> None:
        rows = np.random.default_rng(seed).integers(0, N, 300)
        if not np.array_equal(store.read(rows), expected[rows]):
            wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_store_is_pickled_by_its_folder(cohort):
    again = pickle.loads(pickle.dumps(cohort[0]))
    np.testing.assert_array_equal(again.read([1]), cohort[0].read([1]))


def test_verify_names_the_damaged_row(copy):
    SignalStore.open(copy).verify()
    with open(copy / "signals-001.npy", "r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(StoreError, match=r"signals-001\.npy is damaged \(row 9\)"):
        SignalStore.open(copy).verify()


@pytest.mark.parametrize(
    ("name", "row"),
    [("signals-001.npy", 7), ("scales-001.npy", 7), ("records.csv", 0)],
)
def test_a_flipped_bit_is_not_read(copy, name, row):
    """Each shard is compared with its checksum when it is first read."""
    content = bytearray((copy / name).read_bytes())
    content[-2] ^= 8
    (copy / name).write_bytes(content)
    store = SignalStore.open(copy)
    with pytest.raises(
        StoreError, match=r"(damaged|was changed).*Run the preparation again"
    ):
        store.read([row]), store.records
    if row:
        assert store.read([0]).shape == (1, 12, 1000)  # another shard


@pytest.mark.parametrize("name", ["manifest.json", "shard-002.json"])
def test_a_flipped_bit_of_a_description_is_not_believed(cohort, copy, name):
    """A digit of a number becomes another digit, so that the JSON stays readable."""
    content = (copy / name).read_text(encoding="utf-8")
    changed = content.replace('"n_records": 23', '"n_records": 22')
    changed = changed.replace(", 1000, ", ", 1001, ", 1)
    assert changed != content
    (copy / name).write_text(changed, encoding="utf-8")
    if name == "manifest.json":
        with pytest.raises(StoreError, match="not the one that was written"):
            SignalStore.open(copy)
    else:
        assert read_done(copy, 2) is None and read_done(copy, 1) is not None


def test_verify_sees_changed_scales_and_tables(copy):
    scales = np.load(copy / "scales-002.npy")
    scales[0, 0] *= 2
    np.save(copy / "scales-002.npy", scales)
    with pytest.raises(StoreError, match=r"signals-002\.npy is damaged \(its scales\)"):
        SignalStore.open(copy).verify()


def test_verify_sees_a_changed_table(copy):
    text = (copy / "records.csv").read_text(encoding="utf-8")
    (copy / "records.csv").write_text(text.replace("p1,", "p2,", 1), encoding="utf-8")
    with pytest.raises(StoreError, match=r"records\.csv was changed"):
        SignalStore.open(copy).verify()


def test_open_refuses_missing_and_short_files(copy, tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        SignalStore.open(tmp_path / "nowhere")
    (copy / "signals-003.npy").write_bytes(b"short")
    with pytest.raises(StoreError, match=r"signals-003\.npy has 5 bytes"):
        SignalStore.open(copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(StoreError, match="is not finished"):
        SignalStore.open(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 0}'])
def test_open_refuses_another_manifest(copy, text):
    (copy / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match="prepare again"):
        SignalStore.open(copy)


def test_a_shard_of_another_shape_is_refused(copy):
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    np.save(copy / "signals-000.npy", np.zeros((5, 12, 500), dtype=np.int32))
    size = (copy / "signals-000.npy").stat().st_size
    manifest["shards"][0]["files"][0]["bytes"] = size
    write_sealed(copy / "manifest.json", manifest)
    with pytest.raises(StoreError, match="but the store's manifest states"):
        SignalStore.open(copy).read([0])


def test_float16_stores_are_read_like_int16(cohort, tmp_path):
    folder = cohort[0].folder.parent / "files"
    manifest = manifest_of(sorted(folder.glob("*.hea"))[:7])
    config = PrepareConfig(
        target_fs=500,
        target_samples=1000,
        shard_size=4,
        n_jobs=1,
        store_dtype="float16",
    )
    store = prepare_store(manifest, config, tmp_path / "half")
    raw, scales = store.raw([6, 2])
    assert raw.dtype == np.float16
    assert (scales == 1).all()
    np.testing.assert_allclose(store.read([6, 2]), cohort[0].read([6, 2]), atol=1e-3)
    store.verify()
