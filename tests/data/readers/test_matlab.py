from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.signal.leads import STANDARD_12

RNG = np.random.default_rng(0)
SIGNAL = RNG.normal(0, 0.5, (12, 1000))


@pytest.fixture
def save(tmp_path):
    def write(**variables):
        path = tmp_path / "A1980.mat"
        scipy.io.savemat(path, variables)
        return path

    return write


def refusal(path, **words) -> str:
    with pytest.raises(ReadError) as caught:
        read_recording(path, **words)
    return caught.value.reason


def test_cpsc2018_struct(save):
    recording = read_recording(save(ECG={"sex": "Male", "age": 52, "data": SIGNAL}))
    assert (recording.fs, recording.leads, recording.flags) == (500.0, STANDARD_12, ())
    assert (
        recording.record_id,
        recording.metadata["age"],
        recording.metadata["sex"],
    ) == ("A1980", 52.0, "male")
    np.testing.assert_array_equal(recording.signal, SIGNAL.astype(np.float32))


def test_challenge_matrix_without_a_header(save):
    path = save(val=np.round(SIGNAL * 1000).astype(np.int16))
    recording = read_recording(path, fs=500)
    assert recording.leads == STANDARD_12
    assert set(recording.flags) == {"gain_assumed", "leads_assumed"}
    np.testing.assert_array_equal(
        recording.signal, (np.round(SIGNAL * 1000) / 1000).astype(np.float32)
    )
    assert refusal(path) == "fs"
    np.testing.assert_array_equal(
        read_recording(path, fs=500, start=7, n_samples=9).signal,
        recording.signal[:, 7:16],
    )


def test_a_header_beside_it_counts(save):
    path = save(val=np.arange(5, dtype=np.int16)[None])
    path.with_suffix(".hea").write_text(
        "A1980 1 360 5\nA1980.mat 16+24 200/mV 16 0 0 0 0 V2\n", encoding="utf-8"
    )
    path.write_bytes(b"x" * 24 + np.arange(5, dtype="<i2").tobytes())
    recording = read_recording(path)
    assert (recording.fs, recording.leads) == (360.0, ("V2",))
    np.testing.assert_array_equal(
        recording.signal, np.arange(5, dtype=np.float32)[None] / 200
    )


def test_a_matrix_of_fractions_is_in_millivolts(save):
    path = save(val=SIGNAL[:2])
    recording = read_recording(path, fs=250, leads=["I", "II"])
    assert (recording.leads, recording.flags) == (("I", "II"), ("units_assumed",))
    np.testing.assert_array_equal(recording.signal, SIGNAL[:2].astype(np.float32))
    scaled = read_recording(path, fs=250, leads=["I", "II"], units="V")
    np.testing.assert_array_equal(scaled.signal, (SIGNAL[:2] * 1000).astype(np.float32))
    assert refusal(path, fs=250) == "leads"


def test_forms_that_are_not_known(save, tmp_path):
    assert refusal(save(other=SIGNAL)) == "unknown_format"
    assert refusal(save(ECG=SIGNAL)) == "unknown_format"
    assert refusal(save(ECG={"sex": "Male"})) == "unknown_format"
    assert refusal(save(val="text"), fs=500) == "text"
    (tmp_path / "new.mat").write_bytes(
        b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + b" " * 500
    )
    assert refusal(tmp_path / "new.mat") == "unknown_format"


def test_damaged_files(save, tmp_path):
    content = save(ECG={"data": SIGNAL}).read_bytes()
    for name, part in (
        ("half", content[:5000]),
        ("noise", RNG.bytes(400)),
        ("start", content[:130]),
    ):
        (tmp_path / f"{name}.mat").write_bytes(part)
        assert refusal(tmp_path / f"{name}.mat") in ("unreadable", "unknown_format")
    (tmp_path / "empty.mat").touch()
    assert refusal(tmp_path / "empty.mat") == "empty"
    assert refusal(tmp_path / "none.mat") == "missing_file"


def test_real_cpsc2018_files(data_dir):
    recording = read_recording(data_dir / "cpsc2018_raw" / "A1986.mat")
    assert (recording.n_leads, recording.n_samples, recording.fs) == (12, 21500, 500.0)
    assert (recording.metadata["age"], recording.metadata["sex"], recording.flags) == (
        53.0,
        "female",
        (),
    )
    stored = scipy.io.loadmat(data_dir / "cpsc2018_raw" / "A1986.mat")["ECG"]["data"][
        0, 0
    ]
    np.testing.assert_array_equal(recording.signal, stored.astype(np.float32))


def test_real_challenge_matrix_equals_the_record(data_dir, tmp_path):
    source = data_dir / "cinc2020_2021" / "A0001.mat"
    (tmp_path / "A0001.mat").write_bytes(source.read_bytes())
    alone, with_header = (
        read_recording(tmp_path / "A0001.mat", fs=500),
        read_recording(source),
    )
    assert "gain_assumed" in alone.flags
    np.testing.assert_array_equal(alone.signal, with_header.signal)
