from pathlib import Path

import numpy as np
import pytest

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.csv_text import rate_of

HERE = Path("a.csv")


@pytest.mark.parametrize("fs", [100, 128, 250, 257, 360, 400, 500, 1000, 12.5])
@pytest.mark.parametrize("decimals", [3, 6])
def test_seconds_written_with_few_digits(fs, decimals):
    times = (np.arange(10 * int(fs)) / fs).round(decimals)
    assert rate_of(times, "s", HERE) == fs
    assert rate_of(times, "", HERE) == fs
    assert rate_of((times * 1000).round(decimals - 3), "ms", HERE) == fs


def test_milliseconds_without_a_unit():
    assert rate_of(np.arange(500) * 2.0, "time", HERE) == 500
    assert rate_of(np.arange(500) * 2.0 + 1e5, "", HERE) == 500


def test_a_rate_that_is_not_whole_stays():
    assert rate_of(np.arange(1000) / 128.4, "s", HERE) == pytest.approx(128.4)


@pytest.mark.parametrize(
    "times",
    [
        [0.0],
        [0.0, 0.0, 0.0],
        [0.0, 0.002, 0.001],
        [0.0, 0.002, np.nan],
        [0.0, 0.002, np.inf],
    ],
)
def test_times_that_do_not_rise(times):
    with pytest.raises(ReadError, match="do not rise") as caught:
        rate_of(np.array(times), "s", HERE)
    assert caught.value.reason == "time"


def test_a_gap_is_named():
    times = np.arange(1000) / 500
    times[600:] += 1
    with pytest.raises(ReadError, match=r"jump from 1\.198 to 2\.2") as caught:
        rate_of(times, "s", HERE)
    assert caught.value.reason == "time"
