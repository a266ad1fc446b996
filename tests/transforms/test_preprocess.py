"""Filters against scipy, statistics against numpy, the baseline against a known
drift."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal as dsp

from ecgnb.core.errors import ConfigError
from ecgnb.transforms.preprocess import BandPass, Baseline, Clip, Notch, Scale, ZScore

RNG = np.random.default_rng(1)


def gain(kernel: np.ndarray, frequencies, fs: float) -> np.ndarray:
    """Amplitude response of a kernel, as scipy computes it."""
    return np.abs(dsp.freqz(kernel, worN=np.atleast_1d(frequencies), fs=fs)[1])


def heartbeats(fs: float, seconds: float) -> np.ndarray:
    """A pulse train of P, QRS and T shapes, one beat a second, baseline 0."""
    t = np.arange(int(fs * seconds)) / fs
    phase = t % 1.0
    shapes = [
        (0.2, 0.025, 0.15),
        (0.4, 0.01, 1.2),
        (0.43, 0.012, -0.3),
        (0.65, 0.05, 0.3),
    ]
    return sum(a * np.exp(-0.5 * ((phase - m) / s) ** 2) for m, s, a in shapes)


class TestZScore:
    def test_golden(self):
        x = np.array([[[1.0, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0]]], np.float32)
        expected = np.array([-2.0, -1.0, 0.0, 3.0]) / np.sqrt(3.5)
        out = ZScore()(x)
        np.testing.assert_allclose(out[0, 0], expected, atol=1e-6)
        assert (out[0, 1] == 0).all()

    def test_against_numpy(self):
        x = RNG.normal(3.0, 0.2, (5, 12, 1001)).astype(np.float32)
        wide = x.astype(np.float64)
        np.testing.assert_allclose(
            ZScore()(x),
            (wide - wide.mean(-1, keepdims=True)) / wide.std(-1, keepdims=True),
            atol=2e-5,
        )
        expected = (wide - wide.mean((1, 2), keepdims=True)) / wide.std(
            (1, 2), keepdims=True
        )
        np.testing.assert_allclose(ZScore(per="record")(x), expected, atol=2e-5)

    @pytest.mark.parametrize("per", ["lead", "record"])
    def test_mask_with_holes(self, per):
        x = RNG.normal(-1.0, 2.0, (3, 4, 300)).astype(np.float32)
        mask = RNG.random((3, 300)) < 0.7
        out = ZScore(per=per)(x, mask=mask)
        for record in range(3):
            valid = out[record][:, mask[record]].astype(np.float64)
            over = -1 if per == "lead" else None
            np.testing.assert_allclose(valid.mean(over), 0.0, atol=1e-5)
            np.testing.assert_allclose(valid.std(over), 1.0, atol=1e-5)

    def test_flat_leads_of_any_level_become_zero(self):
        for level in (0.0, 0.1, -3.3, 4.7):
            assert (ZScore()(np.full((1, 2, 5000), level, np.float32)) == 0).all()

    def test_scale_of_the_recorder_does_not_matter(self):
        x = RNG.normal(size=(2, 3, 500)).astype(np.float32)
        np.testing.assert_allclose(ZScore()(x * 40 + 7), ZScore()(x), atol=1e-4)


class TestBandPass:
    @pytest.mark.parametrize("fs", [100.0, 250.0, 500.0])
    def test_kernel_is_scipys(self, fs):
        kernel = BandPass(0.5, 40.0).kernel(fs)
        width = min(10.0, fs - 80)
        taps = [2 * int(np.ceil(3.3 * fs / w / 2)) + 1 for w in (0.5, width)]
        slow = -dsp.firwin(taps[0], 0.5, fs=fs, window="hamming")
        slow[taps[0] // 2] += 1
        expected = np.convolve(slow, dsp.firwin(taps[1], 40.0, fs=fs, window="hamming"))
        np.testing.assert_allclose(kernel, expected, atol=1e-12)

    @pytest.mark.parametrize("fs", [200.0, 500.0, 1000.0])
    def test_frequency_response(self, fs):
        kernel = BandPass(0.5, 40.0).kernel(fs)
        np.testing.assert_allclose(gain(kernel, [1, 5, 10, 20, 34], fs), 1.0, atol=0.01)
        np.testing.assert_allclose(gain(kernel, [0.5, 40], fs), 0.5, atol=0.01)
        assert (gain(kernel, [0.0, 0.1, 0.2, 46, 50, 60, 90], fs) < 0.01).all()
        assert gain(kernel, 0.0, fs) < 1e-9

    def test_filtering_is_scipys_with_mirrored_ends(self):
        x = RNG.normal(size=(2, 3, 2500)).astype(np.float32)
        x += np.linspace(0, 3, 2500, dtype=np.float32)
        kernel = BandPass(1.0, 30.0).kernel(250.0)
        half = len(kernel) // 2
        padded = np.pad(
            x.astype(np.float64), ((0, 0), (0, 0), (half, half)), mode="reflect"
        )
        expected = dsp.fftconvolve(padded, kernel[None, None], mode="valid", axes=-1)
        np.testing.assert_allclose(
            BandPass(1.0, 30.0)(x, fs=250.0), expected, atol=5e-6
        )

    def test_no_phase(self):
        t = np.arange(5000) / 500
        wave = np.sin(2 * np.pi * 10 * t).astype(np.float32)[None]
        out = BandPass(0.5, 40.0)(wave, fs=500.0)
        np.testing.assert_allclose(out[0, 500:-500], wave[0, 500:-500], atol=0.01)

    def test_one_sided(self):
        t = np.arange(5000) / 500
        slow, fast = np.sin(2 * np.pi * 0.1 * t), np.sin(2 * np.pi * 100 * t)
        x = (slow + fast).astype(np.float32)[None]
        middle = slice(1500, -1500)
        np.testing.assert_allclose(
            BandPass(None, 40.0)(x, fs=500.0)[0, middle], slow[middle], atol=0.01
        )
        np.testing.assert_allclose(
            BandPass(1.0, None)(x, fs=500.0)[0, middle], fast[middle], atol=0.01
        )

    def test_edges_must_fit_the_rate(self):
        with pytest.raises(
            ConfigError,
            match="high=60 Hz is not below half the sampling rate of 100 Hz",
        ):
            BandPass(0.5, 60.0)(np.zeros((1, 100), np.float32), fs=100.0)

    def test_shorter_than_its_kernel(self):
        x = RNG.normal(size=(1, 40)).astype(np.float32)
        assert np.isfinite(BandPass()(x, fs=500.0)).all()


class TestNotch:
    @pytest.mark.parametrize(
        ("frequency", "fs"),
        [(50.0, 500.0), (60.0, 500.0), (50.0, 360.0), (60.0, 128.0)],
    )
    def test_frequency_response(self, frequency, fs):
        kernel = Notch(frequency).kernel(fs)
        assert gain(kernel, frequency, fs) < 1e-6
        away = [1.0, 10.0, 30.0, frequency - 3, min(frequency + 3, fs / 2)]
        np.testing.assert_allclose(gain(kernel, away, fs), 1.0, atol=0.015)

    def test_hum_goes_and_heartbeats_stay(self):
        fs = 500.0
        clean = heartbeats(fs, 10)
        t = np.arange(len(clean)) / fs
        hum = 0.2 * np.sin(2 * np.pi * 50 * t) + 0.1 * np.sin(2 * np.pi * 100 * t + 1)
        out = Notch(50.0, harmonics=2)((clean + hum).astype(np.float32)[None], fs=fs)[0]
        assert np.abs(out - clean)[400:-400].max() < 0.02

    def test_harmonics_above_half_the_rate_are_left_out(self):
        assert np.array_equal(
            Notch(50.0, harmonics=3).kernel(180.0), Notch(50.0).kernel(180.0)
        )


class TestBaseline:
    @pytest.mark.parametrize("fs", [100.0, 360.0, 500.0])
    def test_drift_goes_and_heartbeats_stay(self, fs):
        clean = heartbeats(fs, 10)
        t = np.arange(len(clean)) / fs
        drift = (
            0.5 * np.sin(2 * np.pi * 0.15 * t + 0.4)
            + 0.3 * np.sin(2 * np.pi * 0.3 * t)
            + 1.0
        )
        out = Baseline()((clean + drift).astype(np.float32)[None], fs=fs)[0]
        error = (out - clean)[int(fs) : -int(fs)]
        # The beats' own mean goes with the drift.
        assert np.std(error) < 0.05 * np.std(drift)

    def test_constant_is_removed_exactly(self):
        np.testing.assert_allclose(
            Baseline()(np.full((2, 777), 1.25, np.float32), fs=500.0), 0.0, atol=1e-6
        )

    def test_st_segment_stays_where_running_medians_bend_it(self):
        fs, n = 500.0, 5000
        phase = (np.arange(n) / fs) % 1.0
        x = heartbeats(fs, 10) + 0.2 * (
            (phase > 0.46) & (phase < 0.58)
        )  # an elevated ST segment
        inner = (np.arange(n) > 1000) & (np.arange(n) < 4000)
        st, pq = (
            inner & (phase > 0.48) & (phase < 0.54),
            inner & (phase > 0.28) & (phase < 0.33),
        )
        medians = np.pad(x, 500, mode="reflect")
        for seconds in (0.2, 0.6):
            medians = dsp.medfilt(medians, 2 * round(seconds * fs / 2) + 1)
        out = Baseline()(x.astype(np.float32)[None], fs=fs)[0]
        elevation = x[st].mean() - x[pq].mean()
        assert abs(out[st].mean() - out[pq].mean() - elevation) < 0.005
        other = x - medians[500:-500]
        assert abs(other[st].mean() - other[pq].mean() - elevation) > 0.02


def test_clip_and_scale():
    x = np.array([[-3.0, -0.5, 0.5, 3.0]], np.float32)
    assert Clip(1.0)(x).tolist() == [[-1.0, -0.5, 0.5, 1.0]]
    assert Scale(2.0)(x).tolist() == [[-6.0, -1.0, 1.0, 6.0]]
