"""Windows of long recordings: rhythms by duration, beats, ends, patients."""

from __future__ import annotations

import numpy as np
import pytest
import wfdb
from hypothesis import given
from hypothesis import strategies as st

from ecgnb.data.catalog import find_records
from ecgnb.data.catalog.annotation_windows import Annotations, read_annotations, windows


def annotations(changes, n_samples=1000, beats=()):
    samples, names = zip(*changes, strict=True) if changes else ((), ())
    at = np.array([sample for sample, _ in beats], dtype=np.int64)
    symbols = np.array([symbol for _, symbol in beats], dtype=str)
    return Annotations(
        n_samples, np.array(samples, dtype=np.int64), tuple(names), at, symbols
    )


def write_annotated(folder, name, n_samples, notes, fs=10):
    """Write a WFDB record with annotations ``(sample, symbol, note)``."""
    (folder / f"{name}.hea").write_text(
        f"{name} 1 {fs} {n_samples}\n{name}.dat 16 1000/mV 16 0 0 0 0 II\n"
    )
    (folder / f"{name}.dat").write_bytes(bytes(2 * n_samples))
    sample, symbol, note = map(list, zip(*notes, strict=True))
    wfdb.wrann(
        name,
        "atr",
        np.array(sample),
        symbol=symbol,
        aux_note=note,
        fs=fs,
        write_dir=str(folder),
    )


def test_the_rhythm_that_fills_most_of_a_window():
    found = annotations([(50, "N"), (400, "AFIB"), (700, "N")])
    assert found.durations(300, 900) == {"N": 300, "AFIB": 300}
    assert found.main_rhythm(300, 900) == "N"  # of two alike the earlier
    assert found.main_rhythm(301, 900) == "AFIB"
    assert found.main_rhythm(0, 50) == "" and found.main_rhythm(0, 51) == "N"
    assert found.main_rhythm(950, 1000) == "N"


@given(
    st.lists(st.tuples(st.integers(0, 999), st.sampled_from("ABC")), max_size=12),
    st.integers(0, 998),
    st.data(),
)
def test_durations_against_sample_by_sample(changes, start, data):
    stop = data.draw(st.integers(start + 1, 1000))
    changes = sorted(dict(changes).items())
    painted = [""] * 1000
    for sample, name in changes:
        painted[sample:] = [name] * (1000 - sample)
    expected = {
        name: painted[start:stop].count(name)
        for name in "ABC"
        if name in painted[start:stop]
    }
    assert annotations(changes).durations(start, stop) == expected


@given(st.integers(1, 5000), st.integers(1, 1000))
def test_windows_are_whole_and_end_to_end(n_samples, length):
    found = list(windows(n_samples, length))
    if n_samples < length:
        assert found == [(0, n_samples)]
    else:
        assert found == [
            (index * length, length) for index in range(n_samples // length)
        ]


def test_rhythms_agree_with_the_annotation_files(data_dir):
    manifest = find_records("cpsc2021", data_dir / "cpsc2021").set_index("record_id")
    # data_101_6: AF in [3132, 5639), [8468, 9100), [11121, 16050), [21303, 22355)
    episodes = [(3132, 5639), (8468, 9100), (11121, 16050), (21303, 22355)]
    for index in range(22355 // 2000):
        start, stop = index * 2000, index * 2000 + 2000
        in_af = sum(max(0, min(b, stop) - max(a, start)) for a, b in episodes)
        row = manifest.loc[f"data_101_6-{index:04d}"]
        assert row["label"] == ("AF" if in_af > 1000 else "non-AF")
        assert (row["start"], row["n_samples"], row["patient_id"]) == (
            start,
            2000,
            "101",
        )


def test_beats_and_rhythms_of_a_whole_recording(data_dir):
    found = read_annotations(data_dir / "mitdb" / "208.hea", 650000)
    reference = wfdb.rdann(str(data_dir / "mitdb" / "208"), "atr")
    symbols, counts = np.unique(found.symbols, return_counts=True)
    assert dict(zip(symbols.tolist(), counts.tolist(), strict=True)) == {
        "F": 373,
        "N": 1586,
        "Q": 2,
        "S": 2,
        "V": 992,
    }
    assert len(found.rhythms) == sum(symbol == "+" for symbol in reference.symbol) == 53
    assert sum(found.durations(0, 650000).values()) == 650000 - 9


def test_unified_labels_of_windows(tmp_path):
    write_annotated(
        tmp_path, "202", 650,
        [
            (0, "+", "(N"), (20, "N", ""), (50, "N", ""), (80, "N", ""),  # all normal
            (120, "N", ""), (150, "V", ""),  # an ectopic beat
            (220, "L", ""), (250, "L", ""), (280, "N", ""),  # bundle branch block
            (320, "N", ""), (340, "+", "(AFIB"), (360, "N", ""), (380, "+", "(N"),  # fibrillation for 40 of 100
            (420, "+", "(AFIB"), (450, "R", ""),  # fibrillation with block
            (500, "+", "(N"),  # no beat
        ],
    )  # fmt: skip
    unified = find_records("mitdb", tmp_path, label_set="unified")
    assert unified["label"].tolist() == [
        "NORM",
        "OTHER",
        "BBB",
        "OTHER",
        "AF|BBB",
        "OTHER",
    ]
    rhythm = find_records("mitdb", tmp_path)
    assert rhythm["label"].tolist() == ["N", "N", "N", "N", "AFIB", "N"]
    assert rhythm["record_id"].tolist() == [f"202-{index:04d}" for index in range(6)]
    assert set(rhythm["patient_id"]) == {"201"}  # one person, recorded twice


def test_flutter_is_af_in_the_challenge_and_other_when_unified(tmp_path):
    write_annotated(
        tmp_path,
        "data_3_1",
        200,
        [(0, "+", "(AFL"), (100, "+", "(AFIB"), (150, "N", "")],
    )
    assert find_records("cpsc2021", tmp_path)["label"].tolist() == ["AF", "AF"]
    assert find_records("cpsc2021", tmp_path, label_set="unified")[
        "label"
    ].tolist() == ["OTHER", "AF"]


def test_short_recordings_are_one_window_and_missing_annotations_are_counted(tmp_path):
    write_annotated(tmp_path, "data_3_1", 70, [(0, "N", "")])
    write_annotated(tmp_path, "data_3_2", 70, [(0, "N", "")])
    (tmp_path / "data_3_2.atr").unlink()
    manifest = find_records("cpsc2021", tmp_path)
    assert manifest[["record_id", "n_samples", "label"]].values.tolist() == [
        ["data_3_1-0000", 70, "non-AF"]
    ]
    assert manifest.attrs["n_absent"] == 1


@pytest.mark.parametrize("text", ["100 1 360\n100.dat 16 1000/mV\n", "100 no\n"])
def test_a_header_without_a_length_is_left_to_preparation(tmp_path, text):
    write_annotated(tmp_path, "101", 200, [(0, "+", "(N"), (50, "N", "")])
    (tmp_path / "100.hea").write_text(text)
    (tmp_path / "100.dat").write_bytes(bytes(100))
    manifest = find_records("mitdb", tmp_path)
    assert manifest["record_id"].tolist() == ["100", "101-0000", "101-0001"]
    assert manifest["n_samples"].isna().tolist() == [True, False, False]
