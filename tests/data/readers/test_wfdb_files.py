from __future__ import annotations

import numpy as np
import pytest

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.readers.wfdb_files import safe_path

LINE = "r1.dat 16 200 16 0 0 0 0 I\n"


def refused(path, **words) -> ReadError:
    with pytest.raises(ReadError) as caught:
        read_recording(path, **words)
    return caught.value


def test_a_truncated_file_states_expected_and_found(write_record):
    error = refused(write_record("r1 1 500 5000\n" + LINE, b"\0" * 9998))
    assert error.reason == "truncated"
    assert "10000 bytes" in str(error)
    assert "9998" in str(error)


def test_a_window_of_a_truncated_file_is_refused_too(write_record):
    assert (
        refused(
            write_record("r1 1 500 5000\n" + LINE, b"\0" * 9998), n_samples=10
        ).reason
        == "truncated"
    )


def test_an_empty_signal_file(write_record):
    error = refused(write_record("r1 1 500 5000\n" + LINE))
    assert (error.reason, "it has 0" in str(error)) == ("truncated", True)


def test_absurd_lengths_reserve_no_memory(write_record):
    for fmt in ("16", "212", "8", "310", "32"):
        header = f"r1 1 500 999999999999999\nr1.dat {fmt} 200 16 0 0 0 0 I\n"
        assert refused(write_record(header, b"\0" * 100)).reason == "truncated"


@pytest.mark.parametrize(
    ("fmt", "size", "fits"),
    [(212, 15, 10), (310, 16, 12), (24, 30, 10), (80, 7, 7), (32, 40, 10)],
)
def test_packed_formats_are_measured_in_their_own_bytes(fmt, size, fits, write_record):
    def header(n: int) -> str:
        return f"r1 1 500 {n}\nr1.dat {fmt} 200 16 0 0 0 0 I\n"

    assert read_recording(write_record(header(fits), b"\1" * size)).n_samples == fits
    assert refused(write_record(header(fits + 2), b"\1" * size)).reason == "truncated"


def test_a_missing_signal_file(write_record, tmp_path):
    path = write_record("r1 1 500 10\n" + LINE)
    (tmp_path / "r1.dat").unlink()
    error = refused(path)
    assert error.reason == "missing_file"
    assert "r1.dat" in str(error)


@pytest.mark.parametrize(
    "name",
    ["../r1.dat", "/etc/passwd", "sub/r1.dat", "..\\r1.dat", "C:r1.dat", "..", "."],
)
def test_a_header_reads_nothing_outside_its_folder(name, write_record):
    path = write_record(f"r1 1 500 10\n{name} 16 200 16 0 0 0 0 I\n", b"\0" * 20)
    assert refused(path).reason == "unsafe_path"


def test_safe_path(tmp_path):
    assert safe_path(tmp_path, "a.dat", "r1") == tmp_path / "a.dat"
    with pytest.raises(ReadError, match="r1 names the file"):
        safe_path(tmp_path, "a\0b", "r1")


def test_a_length_that_is_not_stated_follows_from_the_file(write_record):
    samples = np.arange(20, dtype="<i2")
    for count in ("", " 0"):
        header = f"r1 2 500{count}\nr1.dat 16+4 1 16 0 0 0 0 I\nr1.dat 16+4 1 16 0 0 0 0 II\n"
        recording = read_recording(
            write_record(header, b"abcd" + samples.tobytes() + b"\1")
        )
        np.testing.assert_array_equal(recording.signal, samples.reshape(10, 2).T)


def test_a_format_that_wfdb_does_not_have(write_record):
    assert (
        refused(
            write_record("r1 1 500 10\nr1.dat 17 200 16 0 0 0 0 I\n", b"\0" * 99)
        ).reason
        == "header"
    )


def test_a_flac_file_that_is_none(write_record):
    for content in (b"", b"fLaC", b"x" * 100):
        error = refused(
            write_record("r1 1 500 10\nr1.dat 516 200 16 0 0 0 0 I\n", content)
        )
        assert error.reason == "truncated"
    assert (
        refused(
            write_record("r1 1 500\nr1.dat 516 200 16 0 0 0 0 I\n", b"x" * 100)
        ).reason
        == "header"
    )
