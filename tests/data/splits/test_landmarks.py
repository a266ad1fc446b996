"""Landmarks: the narrow signal, and codes that survive gain, sign and shift."""

from __future__ import annotations

import numpy as np

from ecgnb.data.splits.landmarks import RATE, find_landmarks, narrow_signals

FS, N = 500.0, 5000
T = np.arange(N) / FS
WHOLE = np.array([[0, N]])


def landmarks(signal: np.ndarray, valid: np.ndarray = WHOLE):
    band, levelled = narrow_signals(np.float32(signal)[None, None], valid, FS)
    return find_landmarks(band, levelled, valid / FS * RATE)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, N)


def test_the_narrow_signal_keeps_10_hz_and_drops_wander_and_mains():
    signal = (
        np.sin(20 * np.pi * T) + 3 * np.sin(2 * np.pi * T) + np.sin(100 * np.pi * T)
    )
    band, levelled = narrow_signals(np.float32(signal + 7)[None, None], WHOLE, FS)
    expected = np.sin(20 * np.pi * np.arange(1000) / RATE)
    expected /= np.abs(expected).max()  # of the samples
    np.testing.assert_allclose(band[0, 0, 100:-100], expected[100:-100], atol=0.02)
    assert abs(levelled[0, 0, 100:-100].std() - 1) < 0.02


def test_codes_do_not_depend_on_gain_offset_and_sign():
    first = landmarks(noise(0))
    other = landmarks(-4.88 * noise(0) + 0.7)
    assert 12 < len(first.code) < 36  # a peak is 0.25 s at least from the next
    np.testing.assert_array_equal(first.code, other.code)
    np.testing.assert_allclose(first.time, other.time, atol=1e-3)


def test_codes_move_with_the_signal_also_by_a_third_of_a_sample():
    first = landmarks(noise(1))
    moved = landmarks(np.roll(noise(1), 53))  # 10.6 samples of the narrow signal
    n_equal = 0
    for time, code in zip(first.time, first.code, strict=True):
        nearest = np.abs(moved.time - time - 10.6).argmin()
        is_near = abs(moved.time[nearest] - time - 10.6) < 0.1
        n_equal += is_near and np.bitwise_count(moved.code[nearest] ^ code) <= 3
    # Some moved into the margin, and of two equal peaks of noise the other one may win.
    assert n_equal >= 0.5 * len(first.code)


def test_flat_leads_steps_and_padding_have_no_landmarks():
    assert len(landmarks(np.full(N, 0.3)).code) == 0
    step = np.where(T < 5, 0.0, 1.0)
    assert len(landmarks(step).code) <= 3
    valid = np.array([[1000, 4000]])
    padded = np.where((T >= 2) & (T < 8), noise(2) + 1, 0)
    times = landmarks(padded, valid).time
    assert len(times) > 3 and times.min() >= 290 and times.max() < 710
