import numpy as np
import pytest

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import mv_per_unit, require_voltage, scale_to_mv


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ("mV", 1.0), ("mv", 1.0), ("MV", 1.0), (" mV ", 1.0), ("V", 1e3), ("volts", 1e3), ("uV", 1e-3),
        ("\u00b5V", 1e-3), ("\u03bcV", 1e-3), ("microvolt", 1e-3), ("nV", 1e-6), ("millivolts", 1.0),
    ],
)  # fmt: skip
def test_units_of_voltage(units, factor):
    assert mv_per_unit(units) == factor


@pytest.mark.parametrize("units", ["mmHg", "bpm", "NU", "adu", "", "%", "degC"])
def test_other_units(units):
    assert mv_per_unit(units) is None
    with pytest.raises(ReadError, match="no unit of voltage") as caught:
        require_voltage(units, "a.hea")
    assert caught.value.reason == "units"


def test_microvolts_are_divided_so_that_nothing_is_rounded_twice():
    values = np.array([1.0, 3.0, 1001.0, 7777.0])
    np.testing.assert_array_equal(scale_to_mv(values.copy(), 1e-3), values / 1000)
    np.testing.assert_array_equal(scale_to_mv(values.copy(), 1e-6), values / 1_000_000)
    np.testing.assert_array_equal(scale_to_mv(values.copy(), 1e3), values * 1000)
    np.testing.assert_array_equal(scale_to_mv(values.copy(), 1.0), values)
