from __future__ import annotations

import numpy as np
import pytest
import wfdb

from ecgnb.core.errors import ReadError
from ecgnb.data.readers import wfdb_segments
from ecgnb.data.readers.reading import read_recording

RNG = np.random.default_rng(0)


@pytest.fixture
def segment(write_int16):
    def write(name: str, n: int, leads: list[str], gain: str = "200/mV") -> np.ndarray:
        samples = RNG.integers(-2000, 2000, (n, len(leads)))
        write_int16(samples, [gain] * len(leads), leads, name)
        return (samples.T / 200).astype(np.float32)

    return write


@pytest.fixture
def variable(segment, write_record):
    """m: leads II, V1, ABP: 10 samples of II and V1, a gap of 5, 20 samples of V1 and
    ABP."""
    segment("m_1", 10, ["II", "V1"])
    segment("m_2", 20, ["V1", "ABP"])
    lines = [
        f"~ 0 200/{unit} 0 0 0 0 0 {lead}"
        for lead, unit in (("II", "mV"), ("V1", "mV"), ("ABP", "mV"))
    ]
    write_record("m_layout 3 500 0\n" + "\n".join(lines) + "\n", name="m_layout")
    return write_record("m/4 3 500 35\nm_layout 0\nm_1 10\n~ 5\nm_2 20\n", name="m")


def refusal(path, **words) -> str:
    with pytest.raises(ReadError) as caught:
        read_recording(path, **words)
    return caught.value.reason


def test_a_fixed_layout_is_one_recording(segment, write_record):
    parts = [segment("f_1", 10, ["I", "II"]), segment("f_2", 15, ["I", "II"])]
    path = write_record("f/2 2 500 25\nf_1 10\nf_2 15\n# Age: 50\n", name="f")
    recording = read_recording(path)
    assert recording.leads == ("I", "II")
    assert recording.metadata["age"] == 50
    np.testing.assert_array_equal(recording.signal, np.hstack(parts))
    np.testing.assert_array_equal(
        recording.signal, wfdb.rdrecord(str(path)[:-4]).p_signal.T.astype(np.float32)
    )
    np.testing.assert_array_equal(
        read_recording(path, start=8, n_samples=5).signal, np.hstack(parts)[:, 8:13]
    )


def test_a_variable_layout_has_nan_in_gaps(variable):
    recording = read_recording(variable)
    assert recording.leads == ("II", "V1", "ABP")
    expected = wfdb.rdrecord(str(variable)[:-4]).p_signal.T.astype(np.float32)
    np.testing.assert_array_equal(recording.signal, expected)
    assert np.isnan(recording.signal).sum(axis=1).tolist() == [25, 5, 15]


@pytest.mark.parametrize(("start", "n"), [(0, 10), (8, 4), (10, 5), (12, 20), (34, 1)])
def test_windows_of_a_variable_layout(variable, start, n):
    expected = read_recording(variable).signal[:, start : start + n]
    np.testing.assert_array_equal(
        read_recording(variable, start=start, n_samples=n).signal, expected
    )


def test_units_are_converted_segment_by_segment(segment, write_record):
    first, second = segment("f_1", 10, ["I"]), segment("f_2", 10, ["I"], gain="0.2/uV")
    found = read_recording(
        write_record("f/2 1 500 20\nf_1 10\nf_2 10\n", name="f")
    ).signal
    np.testing.assert_array_equal(found, np.hstack([first, second]))


def test_channels_that_are_no_voltage_are_left_out(segment, write_record):
    segment("f_1", 10, ["ABP"], gain="5/mmHg")
    path = write_record("f/1 1 500 10\nf_1 10\n", name="f")
    assert refusal(path) == "units"


def test_headers_that_contradict_themselves(segment, write_record):
    segment("f_1", 10, ["I"])
    segment("f_2", 10, ["I", "II"])
    for text in (
        "f/1 1 500 99\nf_1 10\n",  # the sum
        "f/2 1 500 20\nf_1 10\nf_2 10\n",  # the number of signals
        "f/1 2 500 10\nf_1 10\n",
        "f/1 1 500 50\nf_1 50\n",  # the length of a segment
        "f/1 1 500 10\nf 10\n",  # a segment that is itself
    ):
        assert refusal(write_record(text, name="f")) == "header"


def test_a_segment_outside_the_folder(write_record):
    assert refusal(write_record("f/1 1 500 10\n../f_1 10\n", name="f")) == "unsafe_path"


def test_a_missing_segment(write_record):
    assert refusal(write_record("f/1 1 500 10\nf_1 10\n", name="f")) == "missing_file"


def test_a_gap_does_not_fill_the_memory(variable, write_record, segment):
    huge = write_record(
        "h/3 3 500 900000000010\nm_layout 0\nm_1 10\n~ 900000000000\n", name="h"
    )
    assert refusal(huge) == "too_large"
    assert read_recording(huge, start=0, n_samples=15).n_samples == 15
    assert wfdb_segments.MAX_VALUES * 4 <= 2**31
