"""Inputs of a store: fingerprint, leads of a data set, drawn records."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
from store_helpers import TWELVE, manifest_of, wave_steps, write_cohort, write_wfdb

from ecgnb.data.config import PrepareConfig
from ecgnb.data.store.preparation import prepare_store
from ecgnb.data.store.rows import limit_records, store_fingerprint, with_leads

SMALL = PrepareConfig(target_fs=500, target_samples=1000, shard_size=4, n_jobs=1)


def test_the_fingerprint_depends_on_inputs_and_not_on_speed(tmp_path):
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


def test_the_fingerprint_depends_on_all_files_of_a_recording(tmp_path):
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


def test_the_leads_of_the_data_set_are_in_standard_order(tmp_path):
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
    names = manifest_of(paths, leads=["i|ii", "I|II", "V1"])
    assert prepare_store(names, SMALL, tmp_path / "names").leads == ("I", "II")


@pytest.mark.parametrize(
    ("names", "leads"),
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
def test_the_leads_of_a_mixed_data_set(names, leads):
    table = manifest_of([f"{number}.hea" for number in range(len(names))], leads=names)
    assert with_leads(table, SMALL).leads == leads
    assert with_leads(table, dataclasses.replace(SMALL, leads=("v6", "I"))).leads == (
        "V6",
        "I",
    )


def test_limit_draws_the_same_rows_in_their_order():
    manifest = manifest_of([f"{number:05d}.hea" for number in range(30)])
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
