"""`read_recording` as a whole: every real file, every reader, every fault."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgnb.core.errors import EcgnbError, ReadError
from ecgnb.data.readers.base import READERS
from ecgnb.data.readers.reading import choose_reader, read_recording
from ecgnb.data.readers.wfdb_header import read_header
from ecgnb.data.signal.leads import STANDARD_12

N = 400
SIGNAL = np.sin(np.arange(N) / 9)[None] * np.linspace(0.5, 1.5, 12)[:, None]
COUNTS = np.round(SIGNAL * 1000).astype(np.int16)
MV = COUNTS.astype(np.float32) / np.float32(1000)

WRONG_GAIN = {"E00009", "E00018", "E00793", "HR00599", "S0001"}
LOOSE_ELECTRODES = {
    "1030943"
}  # 80 mV on most leads; its label says that its quality is unacceptable
SIGNAL_FILES = (".hea", ".mat", ".dat", ".xyz")


def write_wfdb(folder: Path) -> Path:
    wfdb.wrsamp(
        "a", fs=500, units=["mV"] * 12, sig_name=list(STANDARD_12), d_signal=COUNTS.T.astype(np.int64),
        fmt=["16"] * 12, adc_gain=[1000.0] * 12, baseline=[0] * 12, write_dir=str(folder),
    )  # fmt: skip
    return folder / "a.hea"


def write_matlab(folder: Path) -> Path:
    scipy.io.savemat(folder / "a.mat", {"val": COUNTS})
    return folder / "a.mat"


def write_csv(folder: Path) -> Path:
    lines = ["# fs: 500", ",".join(STANDARD_12)] + [
        ",".join(f"{v / 1000:.3f}" for v in row) for row in COUNTS.T
    ]
    (folder / "a.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "a.csv"


def write_numpy(folder: Path) -> Path:
    np.savez(folder / "a.npz", signal=COUNTS, fs=500, leads=STANDARD_12, units="uV")
    return folder / "a.npz"


WRITERS = {
    "wfdb": write_wfdb,
    "matlab": write_matlab,
    "csv": write_csv,
    "numpy": write_numpy,
}


def refusal(path, **words) -> str:
    with pytest.raises(ReadError) as caught:
        read_recording(path, **words)
    assert str(caught.value).strip().endswith("."), "a message ends with what to do"
    return caught.value.reason


def test_every_reader_is_in_the_table():
    assert set(WRITERS) == set(READERS.available())


@pytest.mark.parametrize("name", sorted(READERS.available()))
def test_every_reader_returns_the_same_recording(name, tmp_path):
    path = WRITERS[name](tmp_path)
    recording = read_recording(path, fs=500)
    assert isinstance(choose_reader(path), READERS.get(name))
    assert (recording.record_id, recording.fs, recording.leads) == (
        "a",
        500.0,
        STANDARD_12,
    )
    assert recording.signal.dtype == np.float32
    assert recording.signal.flags.c_contiguous
    assert recording.signal.flags.writeable
    np.testing.assert_array_equal(recording.signal, MV)
    window = read_recording(path, fs=500, start=17, n_samples=100, record_id="b")
    assert window.record_id == "b"
    np.testing.assert_array_equal(window.signal, MV[:, 17:117])
    assert (
        read_recording(path, fs=500, leads=[f"x{i}" for i in range(12)]).leads[3]
        == "x3"
    )
    for start, n_samples in ((0, N + 1), (N, None), (-1, 3), (3, 0)):
        assert refusal(path, fs=500, start=start, n_samples=n_samples) == "window"


@pytest.mark.parametrize("name", sorted(READERS.available()))
def test_a_wrong_unit_is_flagged_by_every_reader(name, tmp_path):
    path = WRITERS[name](tmp_path)
    flags = read_recording(path, fs=500, units="V").flags
    assert "implausible_gain" in flags
    assert refusal(path, fs=500, units="mmHg") == "units"


def test_paths_that_lead_nowhere(tmp_path):
    for name in (
        "none",
        "none.hea",
        "none.dat",
        "none.mat",
        "none.csv",
        "none.npy",
        "none.npz",
        "none.xyz",
        "a\0b",
    ):
        assert refusal(tmp_path / name) == "missing_file"
    assert refusal(str(tmp_path / "none")) == "missing_file"


def test_folders(tmp_path):
    for name in ("a.hea", "a.csv", "a.npy", "b.mat"):
        (tmp_path / name).mkdir()
        assert refusal(tmp_path / name) == "directory"
    assert refusal(tmp_path) == "directory"


def test_empty_files(tmp_path):
    for name in ("a.hea", "a.csv", "a.npy", "a.npz", "b.mat"):
        (tmp_path / name).touch()
        assert refusal(tmp_path / name) == "empty"


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind"
)
def test_files_that_may_not_be_read(tmp_path):
    path = write_wfdb(tmp_path)
    path.with_suffix(".dat").chmod(0)
    assert refusal(path) == "permission"


def test_a_file_of_no_known_format(tmp_path):
    (tmp_path / "a.docx").write_bytes(b"x")
    assert refusal(tmp_path / "a.docx") == "unknown_format"


def test_a_record_whose_name_has_a_dot(tmp_path):
    write_wfdb(tmp_path)
    (tmp_path / "a.hea").rename(tmp_path / "v1.2.hea")
    assert read_recording(tmp_path / "v1.2").record_id == "v1.2"


def test_a_recording_without_flags_is_plain(tmp_path):
    assert read_recording(write_wfdb(tmp_path)).flags == ()


def test_every_real_header_and_signal_equals_the_wfdb_package_to_the_last_bit(data_dir):
    outcome: Counter[str] = Counter()
    doubted = set()
    for path in sorted(data_dir.rglob("*.hea")):
        recording = read_recording(path)
        if "implausible_gain" in recording.flags:
            doubted.add(path.stem)
        try:
            record = wfdb.rdrecord(str(path.with_suffix("")))
        except ValueError:  # the package refuses "E00009.mat 12 500 ..."
            assert recording.flags[0] == "header_repaired"
            assert read_header(path).flags == ("header_repaired",)
            assert path.name.startswith("E0")
            outcome["repaired"] += 1
            continue
        assert {units.lower() for units in record.units} == {"mv"}
        expected = record.p_signal.T.astype(np.float32)
        np.testing.assert_array_equal(
            recording.signal.view(np.uint32),
            expected.view(np.uint32),
            err_msg=str(path),
        )
        assert (recording.fs, recording.n_leads) == (record.fs, record.n_sig)
        header = read_header(path)
        assert list(header.leads) == record.sig_name
        assert [signal.gain for signal in header.signals] == record.adc_gain
        assert [signal.baseline for signal in header.signals] == record.baseline
        assert [signal.units for signal in header.signals] == record.units
        assert list(header.comments) == record.comments
        assert (header.fs, header.n_samples) == (record.fs, record.sig_len)
        assert header.flags == ()
        outcome["equal"] += 1
    assert outcome == {"equal": 831, "repaired": 8}
    assert doubted == WRONG_GAIN | LOOSE_ELECTRODES


def test_repaired_headers_give_the_samples_of_the_file(data_dir):
    for path in sorted((data_dir / "cinc2020_2021").glob("E*.mat")):
        stored = scipy.io.loadmat(path)["val"]
        recording = read_recording(path)
        gain = 4880.0 if path.stem in WRONG_GAIN else 1000.0
        np.testing.assert_array_equal(
            recording.signal, (stored / gain).astype(np.float32)
        )


def test_every_real_file_is_read_or_refused_with_a_reason(data_dir):
    reasons: Counter[str] = Counter()
    for path in sorted(path for path in data_dir.rglob("*") if path.is_file()):
        try:
            recording = read_recording(path)
        except ReadError as error:
            assert error.reason
            assert path.suffix not in SIGNAL_FILES
            reasons[error.reason] += 1
        else:
            assert recording.signal.size
            reasons["read"] += 1
    assert reasons["read"] >= 2 * 839 + 3 + 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ludb/data/56", {"age": 46.0, "sex": "female"}),
        ("code15_chagas/11111", {"age": 28.0, "sex": "female"}),
        ("ptbdb/s0010_re", {"age": 81.0, "sex": "female"}),
        ("mitdb/100", {"age": 69.0, "sex": "male"}),
        ("cinc2020_2021/S0001", {"age": 81.0, "sex": "female", "dx": []}),
        (
            "cinc2020_2021/E07503",
            {"age": 77.0, "sex": "female", "dx": ["253352002", "427084000"]},
        ),
    ],
)
def test_what_real_headers_say(name, expected, data_dir):
    recording = read_recording(data_dir / name)
    assert {key: recording.metadata[key] for key in expected} == expected


def test_real_lead_names(data_dir):
    assert read_recording(data_dir / "ludb" / "data" / "56").leads == STANDARD_12
    assert read_recording(data_dir / "cinc2011_quality" / "1009404").leads[3:6] == (
        "aVR",
        "aVF",
        "aVL",
    )
    assert read_recording(data_dir / "ptbdb" / "s0010_re.xyz").leads == (
        *STANDARD_12,
        "Vx",
        "Vy",
        "Vz",
    )
    assert read_recording(data_dir / "mitdb" / "100").leads == ("MLII", "V5")
    assert read_recording(data_dir / "code15_chagas" / "11111").patient_id == "911235"


def test_windows_of_a_long_record(data_dir):
    whole = read_recording(data_dir / "mitdb" / "100").signal
    window = read_recording(
        data_dir / "mitdb" / "100", start=360_001, n_samples=777
    ).signal
    np.testing.assert_array_equal(window, whole[:, 360_001:360_778])


HEADERS = [
    b"a 2 500 20\na.dat 16+4 1000/mV 16 0 0 0 0 I\na.dat 16+4 1000/mV 16 0 0 0 0 II\n#Dx:\n",
    b"a 2 500 20\na.dat 212 200(3)/mV 11 1024 0 0 0 I\na.dat 212 200/uV 11 0 0 0 0 II\n",
    b"a 1 500 20\na.dat 516 200(3)/mV 11 1024 0 0 0 I\n",
    b"a 1 500 20\na.dat 8x2:1 200(3)/mV 11 1024 0 0 0 I\n",
    b"a/2 1 500 20\na 10\n~ 10\n",
    b"# fs: 500\ntime (ms),I,II\n0,1,2\n2,3,4\n4,5,\n",
    b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (2, 9), }",
    b"MATLAB 5.0 MAT-file" + b" " * 105 + b"\x00\x01IM" + b"\x0e\0\0\0\x40\0\0\0",
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = draw(st.sampled_from(HEADERS))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        stop = draw(st.integers(start, min(len(content), start + 8)))
        insert = draw(
            st.one_of(
                st.binary(max_size=6),
                st.sampled_from([b"9" * 12, b" ", b"\n", b"-1", b"0", b"../"]),
            )
        )
        content = content[:start] + insert + content[stop:]
    return content


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    content=st.one_of(st.binary(max_size=200), damaged()),
    signal=st.binary(max_size=150),
    suffix=st.sampled_from(
        [".hea", ".dat", ".mat", ".csv", ".npy", ".npz", ".tsv", ""]
    ),
)
def test_whatever_the_bytes_only_our_errors_come_out(content, signal, suffix, tmp_path):
    for old in tmp_path.iterdir():
        old.unlink()
    (tmp_path / "a.dat").write_bytes(signal)
    (tmp_path / ("a.hea" if suffix in ("", ".dat") else f"a{suffix}")).write_bytes(
        content
    )
    for words in ({}, {"fs": 500.0, "leads": ["I", "II"]}):
        try:
            recording = read_recording(tmp_path / f"a{suffix}", **words)
        except EcgnbError as error:
            assert isinstance(error, ReadError)
        else:
            assert recording.signal.size
            assert recording.signal.nbytes < 1 << 24
