"""Formats that go through the wfdb package, and format 16 beside them: all equal to the
package to the last bit."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import wfdb

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.reading import read_recording

RNG = np.random.default_rng(0)
#: Largest sample value of each format that the package writes.
WRITABLE = {
    "16": 32767, "212": 2047, "80": 127, "24": 8388607, "32": 2**31 - 1, "508": 127, "516": 32767,
    "524": 8388607,
}  # fmt: skip


def package(path, **words) -> np.ndarray:
    return wfdb.rdrecord(str(path)[:-4], **words).p_signal.T.astype(np.float32)


def assert_same(path) -> None:
    np.testing.assert_array_equal(read_recording(path).signal, package(path))
    n = read_recording(path).n_samples
    for start, stop in ((0, 7), (3, 10), (n - 5, n)):
        found = read_recording(path, start=start, n_samples=stop - start).signal
        np.testing.assert_array_equal(found, package(path)[:, start:stop])


@pytest.mark.parametrize("n_samples", [1000, 1001, 1003])
@pytest.mark.parametrize("fmt", WRITABLE)
def test_every_format_that_the_package_writes(fmt, n_samples, tmp_path):
    samples = RNG.integers(-WRITABLE[fmt], WRITABLE[fmt], (n_samples, 3), endpoint=True)
    samples[5, 1] = -WRITABLE[fmt] - 1  # the invalid value
    wfdb.wrsamp(
        "r1", fs=500, units=["mV", "uV", "mV"], sig_name=["i", "AVR", "v1"], d_signal=samples, fmt=[fmt] * 3,
        adc_gain=[200.0, 4.88, 1000.0], baseline=[0, 3, -7], write_dir=str(tmp_path),
    )  # fmt: skip
    path = tmp_path / "r1.hea"
    recording = read_recording(path)
    assert recording.leads == ("I", "aVR", "V1")
    expected = wfdb.rdrecord(str(path)[:-4]).p_signal.T.copy()
    expected[1] /= 1000
    np.testing.assert_array_equal(recording.signal, expected.astype(np.float32))
    assert np.isnan(recording.signal[1, 5])
    assert np.isnan(recording.signal).sum() == 1


@pytest.mark.parametrize(
    ("fmt", "size"),
    [("8", 1), ("61", 2), ("160", 2), ("80", 1), ("310", 2), ("311", 2)],
)
def test_formats_that_the_package_only_reads(fmt, size, write_record):
    lines = [
        f"r1.dat {fmt} 100(2)/mV 16 0 {initial} 0 0 V{initial}" for initial in (5, 6)
    ]
    path = write_record(
        "r1 2 500 100\n" + "\n".join(lines) + "\n", RNG.bytes(200 * size)
    )
    assert_same(path)


def test_several_samples_a_frame_are_averaged(write_record):
    header = "r1 2 250 100\nr1.dat 16x2 200 16 0 0 0 0 I\nr1.dat 16 200 16 0 0 0 0 II\n"
    samples = RNG.integers(-2000, 2000, 300).astype("<i2")
    path = write_record(header, samples.tobytes())
    assert_same(path)
    assert read_recording(path).fs == 250


def test_skew_is_undone(write_record):
    header = "r1 2 500 100\nr1.dat 16:3 200 16 0 0 0 0 I\nr1.dat 16 200 16 0 0 0 0 II\n"
    path = write_record(header, RNG.integers(-2000, 2000, 200).astype("<i2").tobytes())
    assert_same(path)
    assert np.isnan(read_recording(path).signal[0, -3:]).all()


def test_different_formats_in_different_files(write_record, tmp_path):
    (tmp_path / "b.dat").write_bytes(RNG.bytes(300))
    header = "r1 3 500 100\nr1.dat 16 200 16 0 0 0 0 I\nb.dat 212 9 12 0 0 0 0 II\nb.dat 212 9 12 0 0 0 0 V1\n"
    assert_same(write_record(header, RNG.bytes(200)))


def test_a_length_that_is_not_stated(write_record):
    path = write_record(
        "r1 2 500\nr1.dat 212 9 12 0 0 0 0 II\nr1.dat 212 9 12 0 0 0 0 V1\n",
        RNG.bytes(300),
    )
    assert_same(path)
    assert read_recording(path).n_samples == 100


def test_channels_that_are_no_voltage_are_left_out(write_record):
    header = "r1 2 500 100\nr1.dat 212 9/mmHg 12 0 0 0 0 ABP\nr1.dat 212 9/mV 12 0 0 0 0 V1\n"
    path = write_record(header, RNG.bytes(300))
    recording = read_recording(path)
    assert recording.leads == ("V1",)
    np.testing.assert_array_equal(recording.signal, package(path)[1:])


def test_headers_at_the_edge_of_the_format_are_read_alike_or_refused(write_record):
    """Signal lines with a few characters changed: what both read is equal to the last
    bit."""
    random = Random(0)
    content, both = RNG.bytes(200), 0
    lines = (
        " 1000(5)/mV 16 7 3 4 0 I",
        " 200.5/mV 11 -3 0 0 0 II",
        " 0 12 100 0 0 0 V1",
    )
    for trial in range(300):
        form = ("16+4", "212")[trial % 2]
        text = list(f"r1.dat {form}{random.choice(lines)}")
        for _ in range(random.randint(1, 2)):
            text[random.randrange(7, len(text))] = random.choice(
                ["", " ", "0", "-", ".", "(", ")", "/", "x", "e", ":", "5 "]
            )
        path = write_record(
            f"r1 2 500 20\n{''.join(text)}\nr1.dat {form} 200/mV 16 0 0 0 0 III\n",
            content,
        )
        try:
            recording, record = read_recording(path), wfdb.rdrecord(str(path)[:-4])
        except (ReadError, ValueError, TypeError):
            continue
        if set(record.units) == {"mV"} and "dropped_signals" not in recording.flags:
            both += 1
            np.testing.assert_array_equal(
                recording.signal,
                record.p_signal.T.astype(np.float32),
                err_msg="".join(text),
            )
    assert both > 100


def test_what_the_package_refuses_is_a_read_error(write_record):
    header = "r1.mat 1 500 100\nr1.dat 212 9/mV 12 0 0 0 0 V1\n"  # a name that the package does not take
    with pytest.raises(ReadError, match="The wfdb package cannot read") as caught:
        read_recording(write_record(header, RNG.bytes(300)))
    assert caught.value.reason == "unreadable"
