"""Filters of whole recordings: equal to scipy's, and done before the crop."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal as sps

from ecgnb.core.errors import ConfigError, ReadError
from ecgnb.data.config import PrepareConfig
from ecgnb.data.recording import Recording
from ecgnb.data.signal.recording_filters import FILTERS, build_filters
from ecgnb.data.signal.standardise import standardise

FS = 500.0
EXAMPLES = {
    "butterworth": {"high": 40.0},
    "iir_notch": {"frequency": 50.0, "q": 0.05},
    "isoelectric": {},
    "zscore": {},
}


def ecg(n_samples: int = 5000, leads: int = 2) -> np.ndarray:
    """Beats on a drifting line, float32 [leads, n_samples] in mV."""
    t = np.arange(n_samples) / FS
    beats = np.exp(-(((t % 0.8) - 0.4) ** 2) / 0.0004)
    noise = np.random.default_rng(0).normal(0, 0.02, (leads, n_samples))
    return (beats + 0.3 * np.sin(2 * np.pi * 0.1 * t) + 0.4 + noise).astype(np.float32)


def apply(name: str, signal: np.ndarray, fs: float = FS, **options) -> np.ndarray:
    return build_filters([{"name": name, **options}], fs)[0](signal, fs)


def test_filters_all_have_an_example():
    assert set(FILTERS) == set(EXAMPLES), "add the new filter to EXAMPLES"


@pytest.mark.parametrize("name", FILTERS)
def test_filters_treat_each_lead_alone_and_change_nothing_in_place(name):
    x = ecg()
    kept = x.copy()
    y = apply(name, x, **EXAMPLES[name])
    assert y.dtype == np.float32 and y.shape == x.shape
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_allclose(apply(name, x[1:], **EXAMPLES[name]), y[1:], atol=1e-7)


def test_filters_butterworth_is_scipys():
    x = ecg()
    for options, (b, a) in [
        ({"high": 40.0}, sps.butter(2, 40.0 / 250)),
        ({"low": 0.5, "order": 3}, sps.butter(3, 0.5 / 250, "high")),
        (
            {"low": 0.5, "high": 100.0, "order": 1},
            sps.butter(1, (0.5 / 250, 100.0 / 250), "band"),
        ),
    ]:
        np.testing.assert_allclose(
            apply("butterworth", x, **options),
            sps.filtfilt(b, a, x.astype(float)),
            atol=1e-6,
        )


def test_filters_notch_takes_its_frequency_away_and_little_else():
    t = np.arange(5000) / FS
    hum, slow = np.sin(2 * np.pi * 50 * t), np.sin(2 * np.pi * 5 * t)
    y = apply(
        "iir_notch", np.stack([hum, slow]).astype(np.float32), frequency=50.0, q=30.0
    )[:, 1000:4000]
    assert np.abs(y[0]).max() < 1e-3
    np.testing.assert_allclose(y[1], slow[1000:4000], atol=2e-3)


def test_filters_isoelectric_finds_the_quiet_window():
    x = np.full((1, 1000), 0.3, np.float32)
    x[0, :600] += np.sin(np.arange(600)).astype(np.float32)
    x[0, 700:] += np.cos(np.arange(300)).astype(np.float32)
    np.testing.assert_allclose(apply("isoelectric", x)[0, 620:680], 0.0, atol=1e-7)


@pytest.mark.parametrize(
    "before", [(), ({"name": "butterworth", "low": 0.5},), ("isoelectric",)]
)
@pytest.mark.parametrize("resampling", ["filter", "linear"])
def test_filters_zscore_never_takes_rounding_for_a_signal(before, resampling):
    """Resampling and filters leave a constant with noise of a millionth, which a
    z-score would blow up to 1."""
    x = ecg(3600)
    x[1] = 0.3
    config = PrepareConfig(
        500.0, 2000, ("I", "II"), filters=(*before, "zscore"), resampling=resampling
    )
    ready = standardise(Recording(x, 360.0, ("I", "II"), record_id="a"), config)
    assert ready.flags == ("flat_leads:II",)
    assert not ready.signal[1].any() and ready.signal[0].std() > 0.5


def test_filters_see_the_whole_recording_before_it_is_cropped():
    x = ecg()
    recording = Recording(x, FS, ("I", "II"), record_id="a")
    filters = ({"name": "butterworth", "low": 0.5}, "isoelectric")
    whole = build_filters(filters, FS)[1](build_filters(filters, FS)[0](x, FS), FS)
    for crop, part in (("start", slice(0, 2000)), ("center", slice(1500, 3500))):
        ready = standardise(
            recording, PrepareConfig(FS, 2000, ("I", "II"), crop=crop, filters=filters)
        )
        np.testing.assert_allclose(ready.signal, whole[:, part], atol=1e-7)
        after = standardise(recording, PrepareConfig(FS, 2000, ("I", "II"), crop=crop))
        cropped_first = build_filters(filters, FS)[0](after.signal, FS)
        assert np.abs(ready.signal - cropped_first).max() > 0.05, (
            "the order must matter for this test to mean anything"
        )


def test_filters_come_after_resampling_and_before_padding():
    x = ecg(2500)
    ready = standardise(
        Recording(x, FS, ("I", "II"), record_id="a"),
        PrepareConfig(
            250.0, 2000, ("I", "II"), filters=({"name": "butterworth", "high": 40.0},)
        ),
    )
    assert ready.valid == (375, 1625)
    assert not ready.signal[:, :375].any() and not ready.signal[:, 1625:].any()


@pytest.mark.parametrize(
    ("spec", "fs", "message"),
    [
        ({"name": "butterworth"}, 500, "0 < low < high < 250"),
        ({"name": "butterworth", "low": 40.0, "high": 0.5}, 500, "low=40.0, high=0.5"),
        ({"name": "butterworth", "high": 40.0}, 60, "30 Hz"),
        ({"name": "iir_notch"}, 500, "needs the option 'frequency'"),
        ({"name": "iir_notch", "frequency": 50.0}, 100, "between 0 and 50 Hz"),
        ({"name": "iir_notch", "frequency": 50.0, "q": 0}, 500, "q above 0"),
        ({"name": "isoelectric", "window": 0.0001}, 500, "a sample or more"),
        ({"name": "butterwort", "high": 40.0}, 500, "Did you mean 'butterworth'"),
        ({"name": "butterworth", "hgh": 40.0}, 500, "Did you mean 'high'"),
    ],
)
def test_filters_refuse_what_makes_no_sense(spec, fs, message):
    with pytest.raises(ConfigError, match=message):
        PrepareConfig(target_fs=fs, filters=(spec,))


def test_filters_refuse_a_recording_that_is_too_short():
    with pytest.raises(ReadError, match="too few to filter") as caught:
        apply("butterworth", np.zeros((1, 9), np.float32), high=40.0)
    assert caught.value.reason == "too_short"
