from __future__ import annotations

import numpy as np
import pytest

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.reading import read_recording

SAMPLES = (np.sin(np.arange(500) / 7)[:, None] * [900, 800]).astype("<i2")


def test_everything_that_a_record_says(write_int16, tmp_path):
    path = write_int16(SAMPLES, ["1000(0)/mV"] * 2, ["avr", "V1"])
    with open(path, "a", encoding="utf-8") as file:
        file.write("# Patient ID: 911235\n# Age: 28\n# Sex: Female\n#Dx: 1,2\n")
    recording = read_recording(path)
    assert (recording.record_id, recording.patient_id, recording.fs) == (
        "r1",
        "911235",
        500.0,
    )
    assert recording.leads == ("aVR", "V1")
    assert recording.flags == ()
    assert (recording.metadata["age"], recording.metadata["sex"]) == (28.0, "female")
    assert recording.metadata["dx"] == ["1", "2"]
    assert recording.metadata["comments"][0] == "Patient ID: 911235"
    np.testing.assert_array_equal(recording.signal, SAMPLES.T.astype(np.float32) / 1000)


def test_every_way_to_name_a_record(write_int16):
    path = write_int16(SAMPLES, ["1000/mV"] * 2)
    expected = read_recording(path).signal
    for name in (
        path,
        path.with_suffix(""),
        path.with_suffix(".dat"),
        str(path),
        str(path)[:-4],
    ):
        np.testing.assert_array_equal(read_recording(name).signal, expected)
    assert read_recording(path, record_id="other").record_id == "other"


def test_checksums_and_initial_values_are_not_believed(write_record):
    header = "r1 1 500 3\nr1.dat 16 1000/mV 16 0 77 12345 0 I\n"
    np.testing.assert_array_equal(
        read_recording(
            write_record(header, np.array([1, 2, 3], "<i2").tobytes())
        ).signal,
        np.array([[1, 2, 3]], np.float32) / 1000,
    )


@pytest.mark.parametrize(
    ("gain", "factor"),
    [
        ("1000/mv", 1.0),
        ("1/uV", 1.0),
        ("1/\u00b5V", 1.0),
        ("1000", 1.0),
        ("1e6/V", 1.0),
    ],
)
def test_units_become_millivolts(gain, factor, write_int16):
    found = read_recording(write_int16(SAMPLES, [gain] * 2)).signal
    np.testing.assert_allclose(found, SAMPLES.T / 1000 * factor, rtol=1e-6)


def test_other_units_are_left_out_or_refused(write_int16):
    recording = read_recording(
        write_int16(SAMPLES, ["10/mmHg", "1000/mV"], ["ABP", "II"])
    )
    assert recording.leads == ("II",)
    assert recording.flags == ("dropped_signals",)
    assert recording.metadata["dropped"] == ["ABP"]
    np.testing.assert_array_equal(
        recording.signal, SAMPLES.T[1:].astype(np.float32) / 1000
    )
    path = write_int16(SAMPLES, ["10/mmHg"] * 2)
    with pytest.raises(ReadError, match="mmHg") as caught:
        read_recording(path)
    assert caught.value.reason == "units"
    np.testing.assert_array_equal(
        read_recording(path, units="mV").signal, SAMPLES.T.astype(np.float32) / 10
    )


def test_the_caller_counts_more_than_the_header(write_int16):
    path = write_int16(SAMPLES, ["1000/mV"] * 2)
    recording = read_recording(path, fs=250, leads=["i", "ii"])
    assert (recording.fs, recording.leads, recording.flags) == (
        250.0,
        ("I", "II"),
        ("fs_overridden",),
    )
    assert read_recording(path, fs=500).flags == ()
    with pytest.raises(ReadError, match="2 leads, but 3 names") as caught:
        read_recording(path, leads=["I", "II", "III"])
    assert caught.value.reason == "leads"


def test_a_rate_of_zero_needs_the_caller(write_record):
    path = write_record("r1 1 0 3\nr1.dat 16 1000/mV 16 0 0 0 0 I\n", b"\1\0" * 3)
    with pytest.raises(ReadError, match="fs=500") as caught:
        read_recording(path)
    assert caught.value.reason == "fs"
    assert read_recording(path, fs=360).fs == 360


def test_a_header_without_signals(write_record):
    with pytest.raises(ReadError, match="has no signals") as caught:
        read_recording(write_record("r1 0 500 10\n"))
    assert caught.value.reason == "no_signal"


def test_doubtful_gains(write_int16):
    assert read_recording(write_int16(SAMPLES, ["0"] * 2)).flags == ("default_gain",)
    assert read_recording(write_int16(SAMPLES, ["2000000/mV"] * 2)).flags == (
        "implausible_gain",
    )
    assert read_recording(write_int16(SAMPLES, ["1/mV"] * 2)).flags == (
        "implausible_gain",
    )
    path = write_int16(SAMPLES, ["4880/mV"] * 2)
    assert read_recording(path).flags == ()
    with open(path, "a", encoding="utf-8") as file:
        file.write("#Age: 7\n#Sex: Male\n#Dx: 1\n#Rx: Unknown\n#Hx: Unknown\n")
    assert read_recording(path).flags == ("implausible_gain",)


def test_a_lead_named_twice(write_int16):
    assert read_recording(
        write_int16(SAMPLES, ["1000/mV"] * 2, ["V5", "v5"])
    ).flags == ("duplicate_leads",)
