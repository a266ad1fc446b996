from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from ecgnb.core.errors import ReadError
from ecgnb.data.signal.resample import (
    filter_reach,
    linear_length,
    low_pass,
    resample,
    resample_linear,
    resampled_length,
    resampling_ratio,
)

RATES = [
    (500, 250),
    (500, 100),
    (1000, 500),
    (360, 500),
    (257, 500),
    (100, 500),
    (500, 360),
    (128, 100),
    (976.5625, 500),
]


def tone(
    frequency: float, fs: float, seconds: float = 10, phase: float = 0.4
) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(fs * seconds)) / fs + phase)[
        None
    ].astype(np.float32)


@pytest.mark.parametrize(("fs", "target_fs"), RATES)
def test_a_tone_below_nyquist_is_kept_within_one_percent(fs, target_fs):
    nyquist = min(fs, target_fs) / 2
    for part in (0.01, 0.2, 0.5, 0.8, 0.89):
        out = resample(tone(part * nyquist, fs), fs, target_fs)
        expected = tone(part * nyquist, target_fs, out.shape[1] / target_fs)
        inner = slice(round(0.6 * target_fs), -round(0.6 * target_fs))
        assert np.abs(out - expected)[:, inner].max() < 0.002, part


@pytest.mark.parametrize(
    ("fs", "target_fs"), [rates for rates in RATES if rates[0] > rates[1]]
)
def test_a_tone_above_nyquist_is_attenuated_by_more_than_60_db(fs, target_fs):
    for part in (1.0, 1.02, 1.1, 1.3, 1.9, 2.1):
        frequency = part * target_fs / 2
        if frequency < fs / 2:
            out = resample(tone(frequency, fs), fs, target_fs)
            inner = slice(round(0.6 * target_fs), -round(0.6 * target_fs))
            assert np.abs(out[:, inner]).max() < 1e-3, part


@pytest.mark.parametrize(("fs", "target_fs"), RATES)
def test_equals_the_polyphase_resampler_of_scipy_with_the_same_filter(fs, target_fs):
    generator = np.random.default_rng(1)
    signal = (
        3
        + np.cumsum(generator.normal(size=(4, round(7.3 * fs))), axis=1).astype(
            np.float32
        )
        * 0.05
    )
    up, down = resampling_ratio(fs, target_fs)
    expected = scipy.signal.resample_poly(
        signal.astype(np.float64),
        up,
        down,
        axis=1,
        window=low_pass(max(up, down)),
        padtype="edge",
    )
    out = resample(signal, fs, target_fs)
    assert out.dtype == np.float32
    assert out.shape == expected.shape
    np.testing.assert_allclose(out, expected, atol=5e-5 * np.ptp(signal))


def test_equal_rates_leave_the_bits_alone():
    signal = tone(5, 500)
    assert resample(signal, 500, 500) is signal


def test_a_constant_stays_constant_to_the_ends():
    out = resample(np.full((2, 777), -4.5, dtype=np.float32), 360, 500)
    np.testing.assert_allclose(out, -4.5, rtol=1e-5)


@pytest.mark.parametrize(("fs", "target_fs"), [(500, 250), (250, 500), (360, 500)])
def test_the_time_of_a_peak_stays(fs, target_fs):
    t = np.arange(round(4 * fs)) / fs
    bump = np.exp(-0.5 * ((t - 1.5) / 0.02) ** 2)[None].astype(np.float32)
    out = resample(bump, fs, target_fs)
    assert abs(np.argmax(out) / target_fs - 1.5) <= 0.5 / target_fs
    assert out.max() == pytest.approx(1, abs=0.01)


def test_all_leads_are_treated_alike():
    generator = np.random.default_rng(2)
    signal = generator.normal(size=(12, 3600)).astype(np.float32)
    together = resample(signal, 360, 500)
    alone = np.concatenate(
        [resample(signal[row : row + 1], 360, 500) for row in range(12)]
    )
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("n", [1, 2, 7, 99, 1000])
def test_lengths_follow_the_rule_and_short_signals_work(n):
    up, down = resampling_ratio(360, 500)
    out = resample(np.ones((1, n), dtype=np.float32), 360, 500)
    assert out.shape == (1, resampled_length(n, up, down))
    assert np.isfinite(out).all()


def test_ratios_are_exact_where_they_can_be_and_near_otherwise():
    assert resampling_ratio(500, 500) == (1, 1)
    assert resampling_ratio(360, 500) == (25, 18)
    assert resampling_ratio(976.5625, 500) == (64, 125)
    assert resampling_ratio(499.9, 500) == (5000, 4999)
    up, down = resampling_ratio(499.123456, 500)
    assert abs(499.123456 * up / down / 500 - 1) < 1e-5


def test_a_ratio_out_of_all_proportion_is_refused():
    with pytest.raises(ReadError, match="No ratio of whole numbers") as caught:
        resampling_ratio(1e-3, 500)
    assert caught.value.reason == "rate"


def test_a_non_integer_rate_is_resampled_at_the_right_speed():
    out = resample(tone(10, 499.9), 499.9, 500)
    expected = tone(10, 500, out.shape[1] / 500)
    assert np.abs(out - expected)[:, 300:-300].max() < 0.002


def test_samples_beyond_the_reach_do_not_matter():
    generator = np.random.default_rng(3)
    signal = generator.normal(size=(1, 4000)).astype(np.float32)
    changed = signal.copy()
    changed[:, :1000] = 5
    reach = filter_reach(1, 2)
    first, second = resample(signal, 500, 250), resample(changed, 500, 250)
    after = (1000 + reach) // 2 + 1
    np.testing.assert_allclose(first[:, after:], second[:, after:], atol=2e-4)


@pytest.mark.parametrize(("fs", "target_fs"), RATES)
def test_linear_is_the_published_formula(fs, target_fs):
    signal = (
        np.random.default_rng(4).normal(size=(3, round(4.3 * fs))).astype(np.float32)
    )
    n, n_new = signal.shape[1], int(signal.shape[1] * target_fs / fs)
    out = resample_linear(signal, fs, target_fs)
    assert out.shape == (3, n_new) and linear_length(n, fs, target_fs) == n_new
    # The same lines from the other side: where sample k of the new grid lies between
    # the samples of the old one.
    at = np.arange(n_new) * (n - 1) / (n_new - 1)
    left = np.minimum(at.astype(int), n - 2)
    expected = signal[:, left] + (at - left) * (
        signal[:, left + 1].astype(float) - signal[:, left]
    )
    np.testing.assert_allclose(out, expected, atol=1e-9)
    np.testing.assert_array_equal(out[:, [0, -1]], signal[:, [0, -1]])


def test_linear_leaves_the_bits_alone_at_equal_rates():
    for fs in (500, 257.3):
        signal = tone(5, fs)
        assert (
            resample_linear(signal, fs, fs) is signal
            and linear_length(1001, fs, fs) == 1001
        )


def test_linear_lets_through_what_the_filter_does_not():
    """Why it is for models that were trained so: a tone above the new Nyquist frequency
    comes back as another one."""
    high = tone(230, 500)
    assert np.abs(resample(high, 500, 250)[:, 200:-200]).max() < 1e-3
    assert np.abs(resample_linear(high, 500, 250)[:, 200:-200]).max() > 0.5
