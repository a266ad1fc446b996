"""Windows of long recordings: rhythms by duration, beats, ends, patients."""

from __future__ import annotations

import numpy as np
import pytest
import wfdb
from catalog_helpers import write_annotated
from hypothesis import given
from hypothesis import strategies as st

from ecgnb.data.catalog import find_records
from ecgnb.data.catalog.annotation_windows import (
    Annotations,
    main_rhythm,
    read_annotations,
    windows,
)


def annotations(changes, n_samples=1000, beats=()):
    samples, names = zip(*changes, strict=True) if changes else ((), ())
    at = np.array([sample for sample, _ in beats], dtype=np.int64)
    symbols = np.array([symbol for _, symbol in beats], dtype=str)
    return Annotations(
        n_samples, np.array(samples, dtype=np.int64), tuple(names), at, symbols
    )


def test_the_rhythm_that_fills_most_of_a_window():
    found = annotations([(50, "N"), (400, "AFIB"), (700, "N")])
    assert found.durations(300, 900) == {"N": 300, "AFIB": 300}
    assert main_rhythm(found.durations(300, 900)) == "N"  # of two alike the earlier
    assert main_rhythm(found.durations(301, 900)) == "AFIB"
    assert main_rhythm(found.durations(0, 50)) == ""
    assert main_rhythm(found.durations(0, 51)) == "N"
    assert main_rhythm(found.durations(950, 1000)) == "N"


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


@pytest.mark.parametrize("text", ["100 1 360\n100.dat 16 1000/mV\n", "100 no\n"])
def test_a_header_without_a_length_is_left_to_preparation(tmp_path, text):
    write_annotated(tmp_path, "101", 200, [(0, "+", "(N"), (50, "N", "")])
    (tmp_path / "100.hea").write_text(text)
    (tmp_path / "100.dat").write_bytes(bytes(100))
    manifest = find_records("mitdb", tmp_path)
    assert manifest["record_id"].tolist() == ["100", "101-0000", "101-0001"]
    assert manifest["n_samples"].isna().tolist() == [True, False, False]
