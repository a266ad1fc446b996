"""Demo cohort on disk: readable, reproducible and resumable."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import read_json
from ecgnb.data.demo.cohort_files import (
    DemoConfig,
    demo_fingerprint,
    make_demo,
    synthesise,
)

SMALL = DemoConfig(n_records=12, seed=3)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return make_demo(tmp_path_factory.mktemp("demo"), SMALL)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_files_of_a_cohort(cohort):
    names = set(contents(cohort))
    records = {
        f"records/D{n:05d}.{kind}" for n in range(1, 13) for kind in ("hea", "dat")
    }
    assert names == records | {
        "demo.json",
        "demo_records.csv",
        "unified_label_mapping.csv",
    }
    assert all(
        (cohort / name).stat().st_size == 2 * 12 * 5000
        for name in records
        if name.endswith("dat")
    )


def test_wfdb_reads_what_was_synthesised(cohort):
    wfdb = pytest.importorskip("wfdb")
    for index in (0, 5, 11):
        recording = synthesise(index, SMALL)
        record = wfdb.rdrecord(str(cohort / "records" / recording.record_id))
        assert (record.fs, record.sig_len, record.n_sig) == (500, 5000, 12)
        assert tuple(record.sig_name) == recording.leads
        assert (
            record.fmt == ["16"] * 12
            and record.units == ["mV"] * 12
            and record.adc_gain == [1000.0] * 12
        )
        np.testing.assert_array_equal(
            record.p_signal.T.astype(np.float32), recording.signal
        )


def test_checksums_first_values_and_comments_are_right(cohort):
    wfdb = pytest.importorskip("wfdb")
    for index in range(12):
        recording = synthesise(index, SMALL)
        record = wfdb.rdrecord(
            str(cohort / "records" / recording.record_id), physical=False
        )
        assert record.checksum == record.calc_checksum()
        assert record.init_value == record.d_signal[0].tolist()
        assert f"age: {recording.metadata['age']}" in record.comments
        assert f"sex: {recording.metadata['sex']}" in record.comments
        assert f"Patient ID: {recording.patient_id}" in record.comments


def test_tables_agree_with_the_recordings(cohort):
    mapping = pd.read_csv(cohort / "unified_label_mapping.csv")
    records = pd.read_csv(cohort / "demo_records.csv")
    assert list(mapping.columns) == ["dataset", "record_id", "mapped_label"]
    assert list(records.columns)[:4] == ["record_id", "patient_id", "label", "subtype"]
    assert set(mapping["dataset"]) == {"demo"} and len(mapping) == len(records) == 12
    for index, (mapped, row) in enumerate(
        zip(mapping["mapped_label"], records.itertuples(), strict=True)
    ):
        metadata = synthesise(index, SMALL).metadata
        assert (mapped, row.label, row.subtype) == (
            metadata["label"],
            metadata["true_label"],
            metadata["subtype"],
        )


def test_a_finished_cohort_is_left_alone(cohort):
    before = {file: file.stat().st_mtime_ns for file in cohort.rglob("*")}
    assert make_demo(str(cohort), SMALL) == cohort
    assert {file: file.stat().st_mtime_ns for file in cohort.rglob("*")} == before


def test_same_seed_same_bytes_and_a_small_cohort_begins_a_larger_one(cohort, tmp_path):
    again, larger = (
        make_demo(tmp_path / "again", SMALL),
        make_demo(tmp_path / "larger", DemoConfig(n_records=15, seed=3)),
    )
    assert contents(again) == contents(cohort)
    whole = contents(larger)
    assert all(
        whole[name] == data
        for name, data in contents(cohort).items()
        if name.startswith("records/")
    )
    for name in ("demo_records.csv", "unified_label_mapping.csv"):
        assert whole[name].startswith(contents(cohort)[name])
    other = make_demo(tmp_path / "other", DemoConfig(n_records=1, seed=4))
    assert contents(other)["records/D00001.dat"] != whole["records/D00001.dat"]


def test_workers_make_the_same_files(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("ecgnb.data.demo.cohort_files._MIN_RECORDS_FOR_WORKERS", 1)
    assert contents(make_demo(tmp_path, SMALL, n_jobs=2)) == contents(cohort)


def test_an_interrupted_cohort_is_completed(cohort, tmp_path, monkeypatch):
    wanted = contents(cohort)
    made: list[int] = []

    def die_at_the_fifth(index: int, config: DemoConfig):
        if index == 5 and not made:
            made.append(index)
            (
                tmp_path / "records" / f".tmp-{os.getpid()}-00c0ffee-D00006.dat"
            ).write_bytes(b"half")
            raise KeyboardInterrupt
        return synthesise(index, config)

    monkeypatch.setattr("ecgnb.data.demo.cohort_files.synthesise", die_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path, SMALL)
    assert (tmp_path / "demo-started.json").is_file() and not (
        tmp_path / "demo.json"
    ).exists()
    with pytest.raises(ConfigError, match="seed is 3, not 9"):
        make_demo(tmp_path, DemoConfig(n_records=12, seed=9))
    make_demo(tmp_path, SMALL)
    assert contents(tmp_path) == wanted


@pytest.mark.parametrize("damage", ["lost header", "cut samples", "lost mapping"])
def test_a_damaged_cohort_is_completed(cohort, tmp_path, damage):
    make_demo(tmp_path, SMALL)
    if damage == "lost header":
        (tmp_path / "records" / "D00002.hea").unlink()
    elif damage == "cut samples":
        (tmp_path / "records" / "D00003.dat").write_bytes(b"\0" * 100)
    else:
        (tmp_path / "unified_label_mapping.csv").unlink()
    make_demo(tmp_path, SMALL)
    assert contents(tmp_path) == contents(cohort)


def test_another_cohort_in_the_folder_is_refused(cohort):
    with pytest.raises(
        ConfigError, match=r"n_records is 12, not 20.*Choose another folder"
    ):
        make_demo(cohort, DemoConfig(n_records=20, seed=3))


def test_a_damaged_state_file_is_refused(tmp_path):
    (tmp_path / "demo.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="damaged"):
        make_demo(tmp_path, SMALL)


def test_state_file_contains_the_configuration(cohort):
    state = read_json(cohort / "demo.json")
    assert (
        state["fingerprint"] == demo_fingerprint(SMALL)
        and state["config"]["n_records"] == 12
    )
    assert sum(state["counts"].values()) == 12


def test_whole_and_decimal_numbers_are_the_same_cohort():
    assert demo_fingerprint(DemoConfig(fs=500, seconds=10)) == demo_fingerprint(
        DemoConfig()
    )
