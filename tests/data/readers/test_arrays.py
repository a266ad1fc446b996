from pathlib import Path

import numpy as np
import pytest

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.numpy_arrays import array_to_mv, orient

HERE = Path("a.npy")


@pytest.mark.parametrize(
    ("shape", "leads", "rows"),
    [
        ((12, 5000), None, 12), ((5000, 12), None, 12), ((5000, 1), None, 1), ((1, 5000), None, 1), ((100,), None, 1),
        ((2, 300), ("I", "II"), 2), ((300, 2), ("I", "II"), 2), ((12, 12), None, 12), ((8, 300), None, 8),
        ((1, 12), None, 12), ((12, 1), None, 12), ((2, 2), ("I", "II"), 2), ((12, 2), ("I", "II"), 2),
    ],
)  # fmt: skip
def test_the_axis_of_the_leads(shape, leads, rows):
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    found = orient(values, leads, HERE)
    assert len(found) == rows
    assert found.size == values.size


def test_square_arrays_are_taken_as_they_are():
    values = np.arange(144).reshape(12, 12)
    np.testing.assert_array_equal(orient(values, None, HERE), values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((2, 3, 4)), "shape"), (np.array(3.0), "shape"), (np.zeros((12, 0)), "empty"),
        (np.array(["a"]), "text"), (np.array([1j]), "text"), (np.array([True]), "text"),
    ],
)  # fmt: skip
def test_what_is_no_recording(values, reason):
    with pytest.raises(ReadError) as caught:
        orient(values, None, HERE)
    assert caught.value.reason == reason


def test_units():
    values = np.array([[1, 2, 3000]], dtype=np.int16)
    np.testing.assert_array_equal(
        array_to_mv(values, "mV", HERE), values.astype(np.float32)
    )
    np.testing.assert_array_equal(
        array_to_mv(values, "uV", HERE), (values / 1000).astype(np.float32)
    )
    np.testing.assert_array_equal(
        array_to_mv(values, "V", HERE), (values * 1000.0).astype(np.float32)
    )


def test_the_result_is_contiguous_and_a_copy():
    values = np.zeros((50, 2), np.float32)
    found = array_to_mv(values.T, "mV", HERE)
    assert found.flags.c_contiguous
    assert not np.shares_memory(found, values)
