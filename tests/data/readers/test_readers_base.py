from pathlib import Path

import numpy as np
import pytest

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import (
    ReadRequest,
    Window,
    explained_os_errors,
    mv_per_unit,
    require_voltage,
    resolve_fs,
    resolve_leads,
    resolve_units,
    resolve_window,
    scale_to_mv,
)
from ecgnb.data.signal.leads import STANDARD_12

HERE = Path("a.npy")


def test_windows():
    assert resolve_window(ReadRequest(), 100, HERE) == Window(0, 100, 100)
    assert resolve_window(ReadRequest(start=10), 100, HERE) == Window(10, 100, 100)
    assert (
        resolve_window(ReadRequest(start=10, n_samples=20), 100, HERE).n_samples == 20
    )


@pytest.mark.parametrize(
    ("start", "n"), [(0, 101), (100, None), (-1, 5), (5, 0), (5, -2), (90, 11)]
)
def test_windows_outside_of_the_file(start, n):
    with pytest.raises(ReadError, match="has 100 samples") as caught:
        resolve_window(ReadRequest(start=start, n_samples=n), 100, HERE)
    assert caught.value.reason == "window"


def test_an_empty_file_has_no_window():
    with pytest.raises(ReadError, match="holds no samples") as caught:
        resolve_window(ReadRequest(), 0, HERE)
    assert caught.value.reason == "empty"


@pytest.mark.parametrize(
    ("given", "stated", "expected"),
    [
        (None, 500, (500.0, ())),
        (250, None, (250.0, ())),
        (250, 500, (250.0, ("fs_overridden",))),
        (5, 5, (5.0, ())),
    ],
)
def test_rates(given, stated, expected):
    assert resolve_fs(ReadRequest(fs=given), stated, HERE) == expected


@pytest.mark.parametrize("fs", [None, 0, -1, float("nan"), float("inf")])
def test_rates_that_are_none(fs):
    with pytest.raises(ReadError, match="Pass it in Hz") as caught:
        resolve_fs(ReadRequest(), fs, HERE)
    assert caught.value.reason == "fs"


def test_lead_names():
    assert resolve_leads(ReadRequest(), None, 12, HERE) == (
        STANDARD_12,
        ("leads_assumed",),
    )
    assert resolve_leads(ReadRequest(), None, 1, HERE) == (("ECG",), ())
    assert resolve_leads(ReadRequest(leads=("avl", "x")), ["I", "II"], 2, HERE) == (
        ("aVL", "x"),
        (),
    )
    for request, n in ((ReadRequest(), 3), (ReadRequest(leads=("I",)), 2)):
        with pytest.raises(ReadError) as caught:
            resolve_leads(request, None, n, HERE)
        assert caught.value.reason == "leads"


def test_units():
    assert resolve_units(ReadRequest(units="uV"), "mV") == ("uV", ())
    assert resolve_units(ReadRequest(), "V") == ("V", ())
    assert resolve_units(ReadRequest(), None) == ("mV", ("units_assumed",))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(), "missing_file"),
        (PermissionError(), "permission"),
        (OSError("disk"), "unreadable"),
    ],
)
def test_refusals_of_the_system(error, reason, tmp_path):
    with (
        pytest.raises(ReadError, match=r"x\.dat") as caught,
        explained_os_errors(tmp_path / "x.dat"),
    ):
        raise error
    assert caught.value.reason == reason


def test_a_folder(tmp_path):
    with (
        pytest.raises(ReadError, match="is a folder") as caught,
        explained_os_errors(tmp_path),
    ):
        raise PermissionError  # what Windows says where Linux says IsADirectoryError
    assert caught.value.reason == "directory"


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
