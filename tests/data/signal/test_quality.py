from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgnb.core.errors import ReadError
from ecgnb.data.signal.quality import (
    Extremes,
    check_duration,
    find_clipped,
    find_flat,
    longest_run,
    repair_gaps,
)

FS = 500.0
LEADS = ("I", "II")


def clean(n: int = 5000) -> np.ndarray:
    t = np.arange(n) / FS
    return np.stack(
        [np.sin(2 * np.pi * 1.3 * t), 0.3 * np.cos(2 * np.pi * 7 * t)]
    ).astype(np.float32)


def clipped(signal: np.ndarray) -> np.ndarray:
    return find_clipped(signal, FS, Extremes.of(signal))


def reason_of(call) -> str:
    with pytest.raises(ReadError) as caught:
        call()
    return caught.value.reason


@pytest.mark.parametrize("fs", [49.9, 5001, 0, -500, float("nan"), float("inf")])
def test_odd_rates_are_refused(fs):
    assert reason_of(lambda: check_duration(5000, fs)) == "rate"


def test_a_recording_below_one_second_is_refused():
    check_duration(500, FS)
    assert reason_of(lambda: check_duration(499, FS)) == "too_short"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_extremes_tell_whether_all_is_finite(value):
    signal = clean()
    assert Extremes.of(signal).finite()
    signal[1, 4000] = value
    assert not Extremes.of(signal).finite()


def test_gaps_are_filled_with_straight_lines_and_the_input_stays():
    signal = clean()
    signal[0, 100:104] = np.nan
    signal[1, :3] = np.nan
    signal[1, -2:] = np.nan
    before = signal.copy()
    repaired = repair_gaps(signal, FS, LEADS)
    np.testing.assert_array_equal(signal, before)
    line = np.interp(range(100, 104), [99, 104], signal[0, [99, 104]])
    np.testing.assert_allclose(repaired[0, 100:104], line, rtol=1e-6)
    assert (repaired[1, :3] == signal[1, 3]).all()
    assert (repaired[1, -2:] == signal[1, -3]).all()
    known = ~np.isnan(before)
    np.testing.assert_array_equal(repaired[known], before[known])


def test_too_many_gaps_are_refused():
    signal = clean()
    signal[1, ::19] = np.nan  # 5.3 %
    with pytest.raises(ReadError, match=r"5\.28 % of lead II") as caught:
        repair_gaps(signal, FS, LEADS)
    assert caught.value.reason == "nan"


def test_one_long_gap_is_refused_however_long_the_recording():
    signal = clean(20_000)
    signal[0, 1000:1260] = np.nan  # 0.52 s, 1.3 %
    assert reason_of(lambda: repair_gaps(signal, FS, LEADS)) == "nan"
    signal[0, 1000:1015] = 0
    assert np.isfinite(repair_gaps(signal, FS, LEADS)).all()


@pytest.mark.parametrize(
    "values", [[np.inf], [-np.inf], [np.inf, -np.inf], [np.inf, np.nan]]
)
def test_infinite_values_are_refused(values):
    signal = clean()
    signal[1, 7 : 7 + len(values)] = values
    assert reason_of(lambda: repair_gaps(signal, FS, LEADS)) == "inf"


def test_a_constant_lead_is_flat_and_a_small_wave_is_not():
    signal = np.stack(
        [np.zeros(1000), np.full(1000, 3.3), 1e-4 * np.sin(np.arange(1000))]
    ).astype(np.float32)
    assert find_flat(Extremes.of(signal)).tolist() == [True, True, False]


def test_a_plateau_at_the_limit_is_clipped_and_a_wave_is_not():
    wave = clean()
    assert clipped(wave).tolist() == [False, False]
    above = wave.copy()
    above[0] = np.minimum(above[0], 0.9)
    assert clipped(above).tolist() == [True, False]
    below = wave.copy()
    below[1] = np.maximum(below[1], -0.05)
    assert clipped(below).tolist() == [False, True]


def test_a_plateau_between_the_limits_is_not_clipped():
    wave = clean()
    wave[0, 2000:2400] = 0.5
    assert not clipped(wave).any()


@pytest.mark.parametrize("start", range(0, 60, 7))
def test_a_plateau_is_found_wherever_it_lies(start):
    wave = clean()
    wave[0, start : start + 25] = 2
    assert clipped(wave)[0]
    wave[0, start + 12] = 1.9  # two halves of 12 samples are no plateau of 50 ms
    assert not clipped(wave)[0]


@given(st.lists(st.booleans(), max_size=60))
def test_longest_run_counts_like_a_string_does(bits):
    expected = max(
        map(len, "".join("x" if bit else " " for bit in bits).split(" ")), default=0
    )
    assert longest_run(np.array(bits, dtype=bool)) == expected
