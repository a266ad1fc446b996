from __future__ import annotations

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgnb.data.readers.reading import read_recording
from ecgnb.data.readers.wfdb_header import SignalSpec, parse_header
from ecgnb.data.readers.wfdb_signal import is_plain, to_millivolts

EVERY_INT16 = np.arange(-32768, 32768).astype("<i2")


def spec(gain: float, baseline: int, lead: str = "I") -> SignalSpec:
    return SignalSpec("a.dat", 16, 1, 0, 0, gain, baseline, "mV", lead)


def by_float64(samples: np.ndarray, gain: float, baseline: int) -> np.ndarray:
    """The arithmetic of the wfdb package, then the rounding to float32."""
    physical = (samples.astype(np.float64) - baseline) / gain
    physical[samples == -32768] = np.nan
    return physical.astype(np.float32)


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.uint32)


@pytest.mark.parametrize(
    "baseline", [0, 1, -3, 1024, -32768, 199_006, -(2**23), 2**23 + 1, 2**40 + 1]
)
def test_every_sample_value_is_equal_to_the_last_bit(baseline):
    gains = [
        1000.0,
        200.0,
        4880.0,
        2000.0,
        -1000.0,
        306.0,
        1.0,
        0.5,
        646.0,
        4676.0,
        2_000_000.0,
        3.0,
        7.0,
        1e-15,
        1e15,
    ]
    gains += [38777.46675997201, 0.1, 204.8, 1e3 / 4.88, np.pi]
    samples = np.tile(EVERY_INT16[:, None], (1, len(gains)))
    found = to_millivolts(
        samples, [spec(gain, baseline) for gain in gains], [1.0] * len(gains)
    )
    for row, gain in enumerate(gains):
        # Alone, each gain takes the path that it allows; together with 0.1, all of them
        # go by float64.
        alone = to_millivolts(samples[:, :1], [spec(gain, baseline)], [1.0])[0]
        expected = by_float64(EVERY_INT16, gain, baseline)
        np.testing.assert_array_equal(bits(found[row][1:]), bits(expected[1:]))
        np.testing.assert_array_equal(bits(alone[1:]), bits(expected[1:]))
        assert np.isnan(found[row, 0])
        assert np.isnan(alone[0])


@settings(max_examples=60, deadline=None)
@given(
    st.floats(1e-6, 1e9) | st.integers(1, 10**7).map(float),
    st.integers(-(2**24), 2**24),
)
def test_any_gain_and_baseline_are_equal_to_the_last_bit(gain, baseline):
    found = to_millivolts(EVERY_INT16[:, None], [spec(gain, baseline)], [1.0])[0]
    np.testing.assert_array_equal(
        bits(found[1:]), bits(by_float64(EVERY_INT16, gain, baseline)[1:])
    )


@pytest.mark.parametrize(("units", "per_mv"), [("uV", 1000), ("nV", 1_000_000)])
def test_small_units_are_divided_in_float64(units, per_mv, write_int16):
    path = write_int16(EVERY_INT16[1:, None], [f"3.7(11)/{units}"])
    expected = ((EVERY_INT16[1:].astype(np.float64) - 11) / 3.7 / per_mv).astype(
        np.float32
    )
    np.testing.assert_array_equal(bits(read_recording(path).signal[0]), bits(expected))


def test_volts(write_int16):
    path = write_int16(EVERY_INT16[1:, None], ["1e6/V"])
    expected = (EVERY_INT16[1:].astype(np.float64) / 1e6 * 1000).astype(np.float32)
    np.testing.assert_array_equal(bits(read_recording(path).signal[0]), bits(expected))


def test_the_result_is_contiguous_float32_by_lead(write_int16):
    samples = np.arange(30).reshape(10, 3)
    found = read_recording(write_int16(samples, ["1/mV"] * 3)).signal
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, samples.T)


def test_offset_of_the_challenge_files(write_record):
    samples = np.arange(20, dtype="<i2").reshape(10, 2)
    header = "r1 2 500 10\nr1.mat 16+24 1000/mV 16 0 0 0 0 I\nr1.mat 16+24 1000/mV 16 0 0 0 0 II\n"
    path = write_record(header, b"x" * 24 + samples.tobytes(), file="r1.mat")
    np.testing.assert_array_equal(
        read_recording(path.with_suffix(".mat")).signal,
        samples.T.astype(np.float32) / 1000,
    )
    np.testing.assert_array_equal(
        read_recording(path, start=3, n_samples=4).signal,
        samples[3:7].T.astype(np.float32) / 1000,
    )


def test_several_files_in_one_header(write_record, tmp_path):
    first, second = (
        np.arange(20, dtype="<i2").reshape(10, 2),
        100 + np.arange(10, dtype="<i2").reshape(10, 1),
    )
    (tmp_path / "r1.xyz").write_bytes(b"abcd" + second.tobytes())
    header = "r1 3 500 10\nr1.dat 16 1 16 0 0 0 0 i\nr1.dat 16 1 16 0 0 0 0 ii\nr1.xyz 16+4 1 16 0 0 0 0 vx\n"
    path = write_record(header, first.tobytes())
    recording = read_recording(path, start=2, n_samples=5)
    assert recording.leads == ("I", "II", "Vx")
    np.testing.assert_array_equal(recording.signal, np.hstack([first, second])[2:7].T)
    np.testing.assert_array_equal(
        recording.signal, wfdb.rdrecord(str(path)[:-4], sampfrom=2, sampto=7).p_signal.T
    )


def test_files_that_alternate_keep_the_order_of_the_header(write_record, tmp_path):
    (tmp_path / "b.dat").write_bytes(np.array([7, 8], "<i2").tobytes())
    header = "r1 3 500 2\nr1.dat 16 1 16 0 0 0 0 I\nb.dat 16 1 16 0 0 0 0 II\nr1.dat 16 1 16 0 0 0 0 V1\n"
    found = read_recording(
        write_record(header, np.array([1, 2, 3, 4], "<i2").tobytes())
    ).signal
    np.testing.assert_array_equal(found, [[1, 3], [7, 8], [2, 4]])


def test_only_format_16_is_plain():
    for line, plain in (
        ("16", True),
        ("16+24", True),
        ("16x2", False),
        ("16:3", False),
        ("212", False),
    ):
        assert is_plain(parse_header(f"r 1 500 10\nr.dat {line} 200")) is plain
