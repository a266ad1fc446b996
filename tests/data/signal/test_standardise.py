from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_helpers import TWELVE

from ecgnb.core.errors import ConfigError, ReadError
from ecgnb.data.config import PrepareConfig
from ecgnb.data.recording import Recording
from ecgnb.data.signal.resample import resample, resample_linear
from ecgnb.data.signal.standardise import standardise, standardise_windows

PLAIN = PrepareConfig(target_fs=500, target_samples=5000)


def recording(
    n_samples: int = 5000, fs: float = 500, leads=TWELVE, **changes
) -> Recording:
    generator = np.random.default_rng(n_samples)
    signal = (
        np.cumsum(generator.normal(size=(len(leads), n_samples)), axis=1).astype(
            np.float32
        )
        * 0.05
    )
    return dataclasses.replace(Recording(signal, fs, tuple(leads), "r"), **changes)


def reason_of(*arguments) -> str:
    with pytest.raises(ReadError) as caught:
        standardise(*arguments)
    return caught.value.reason


def test_a_recording_in_the_wanted_form_keeps_its_bits():
    given_ = recording()
    ready = standardise(given_, PLAIN)
    np.testing.assert_array_equal(ready.signal, given_.signal)
    assert ready.valid == (0, 5000)
    assert ready.flags == ()


@pytest.mark.parametrize(("crop", "first"), [("center", 1500), ("start", 0)])
def test_a_long_recording_is_cropped(crop, first):
    given_ = recording(8001)
    ready = standardise(given_, dataclasses.replace(PLAIN, crop=crop))
    np.testing.assert_array_equal(ready.signal, given_.signal[:, first : first + 5000])
    assert ready.start == first


@pytest.mark.parametrize(
    ("crop", "valid"), [("center", (999, 4000)), ("start", (0, 3001))]
)
def test_a_short_recording_is_padded_with_zeros(crop, valid):
    given_ = recording(3001)
    ready = standardise(given_, dataclasses.replace(PLAIN, crop=crop))
    assert ready.valid == valid
    np.testing.assert_array_equal(ready.signal[:, valid[0] : valid[1]], given_.signal)
    assert not ready.signal[:, : valid[0]].any()
    assert not ready.signal[:, valid[1] :].any()
    assert ready.signal.shape == (12, 5000)


@given(
    fs=st.sampled_from([100.0, 250.0, 257.0, 360.0, 500.0, 1000.0, 976.5625]),
    seconds=st.floats(1.1, 40),
    target=st.sampled_from([(500.0, 5000), (250.0, 1000), (100.0, 1000), (360.0, 777)]),
    crop=st.sampled_from(["center", "start"]),
)
@settings(max_examples=60, deadline=None)
def test_cropping_before_resampling_equals_cropping_after(fs, seconds, target, crop):
    given_ = recording(round(fs * seconds), fs, ("I", "II"))
    config = PrepareConfig(target_fs=target[0], target_samples=target[1], crop=crop)
    ready = standardise(given_, config)
    whole = resample(given_.signal, fs, target[0])
    surplus = max(0, whole.shape[1] - target[1])
    first = surplus // 2 if crop == "center" else 0
    expected = whole[:, first : first + target[1]]
    start, stop = ready.valid
    assert stop - start == min(whole.shape[1], target[1])
    np.testing.assert_allclose(
        ready.signal[:, start:stop], expected, atol=1e-3 * np.ptp(given_.signal)
    )


def test_leads_come_in_the_wanted_order_and_spelling():
    given_ = recording()
    ready = standardise(given_, dataclasses.replace(PLAIN, leads=("v6", "AVR", "I")))
    np.testing.assert_array_equal(ready.signal, given_.signal[[11, 3, 0]])


def test_a_derivable_lead_is_no_missing_lead():
    given_ = recording(leads=("I", "II"))
    ready = standardise(given_, dataclasses.replace(PLAIN, leads=("III", "I")))
    np.testing.assert_allclose(
        ready.signal[0], given_.signal[1] - given_.signal[0], atol=1e-6
    )
    assert ready.flags == ()


def test_a_missing_lead_is_refused_or_stored_as_zeros():
    given_ = recording(leads=("I", "II"))
    wanted = dataclasses.replace(PLAIN, leads=("I", "v1", "V2"))
    with pytest.raises(ReadError, match=r"no values in lead V1\|V2.*MISSING_LEADS"):
        standardise(given_, wanted)
    ready = standardise(given_, dataclasses.replace(wanted, missing_leads="zero"))
    assert ready.flags == ("missing_leads:V1|V2",)
    assert not ready.signal[1:].any()
    np.testing.assert_array_equal(ready.signal[0], given_.signal[0])


def test_a_lead_of_nothing_but_nan_is_missing():
    given_ = recording()
    given_.signal[6] = np.nan
    assert reason_of(given_, PLAIN) == "missing_leads"
    ready = standardise(given_, dataclasses.replace(PLAIN, missing_leads="zero"))
    assert ready.flags == ("missing_leads:V1",)


def test_a_recording_with_none_of_the_leads_is_refused_in_any_case():
    assert (
        reason_of(
            recording(leads=("MLII",)),
            PrepareConfig(leads=("V1",), missing_leads="zero"),
        )
        == "missing_leads"
    )


def test_repairs_and_flags_add_to_those_of_the_reader():
    given_ = recording(flags=("implausible_gain",))
    given_.signal[0, 10:15] = np.nan
    given_.signal[6:8] = 0.25
    given_.signal[2] = np.clip(
        given_.signal[2], None, np.quantile(given_.signal[2], 0.6)
    )
    ready = standardise(given_, PLAIN)
    assert ready.flags == (
        "implausible_gain",
        "nan_repaired",
        "flat_leads:V1|V2",
        "clipped_leads:III",
    )
    assert np.isfinite(ready.signal).all()


def test_nothing_but_flat_leads_is_refused():
    given_ = recording()
    given_.signal[:] = np.arange(12)[:, None]
    assert reason_of(given_, PLAIN) == "flat"
    wanted = PrepareConfig(leads=("I", "V1"), missing_leads="zero")
    assert (
        reason_of(
            recording(leads=("I",), signal=np.ones((1, 5000), np.float32)), wanted
        )
        == "flat"
    )


def test_faults_outside_the_kept_part_do_no_harm():
    given_ = recording(500 * 60)
    given_.signal[:, :5000] = np.nan
    assert np.isfinite(standardise(given_, PLAIN).signal).all()
    assert (
        reason_of(given_, dataclasses.replace(PLAIN, crop="start")) == "missing_leads"
    )
    given_.signal[:, 100] = 1
    assert reason_of(given_, dataclasses.replace(PLAIN, crop="start")) == "nan"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"fs": 20.0}, "rate"), ({"fs": 6000.0}, "rate"), ({"fs": float("nan")}, "rate")],
)
def test_rates_are_checked(changes, reason):
    assert reason_of(recording(**changes), PLAIN) == reason


def test_too_short_and_infinite_recordings_are_refused():
    assert reason_of(recording(499), PLAIN) == "too_short"
    given_ = recording()
    given_.signal[3, 77] = np.inf
    assert reason_of(given_, PLAIN) == "inf"


@pytest.mark.parametrize("value", [1001.0, -1e6, 1e30, -3e38])
@pytest.mark.parametrize("filters", [(), ("zscore",)])
def test_a_sample_that_no_electrode_delivers_is_refused_with_its_value(value, filters):
    given_ = recording(10_000)
    given_.signal[3, 5001] = value
    with pytest.raises(ReadError) as caught:
        standardise(given_, dataclasses.replace(PLAIN, filters=filters))
    assert caught.value.reason == "amplitude"
    assert f"Lead aVR has {value:g} mV at 10.002 s" in str(caught.value)


def test_a_wrong_unit_and_the_rail_of_an_amplifier_are_used_with_a_flag():
    given_ = recording()
    microvolts = dataclasses.replace(given_, signal=given_.signal * 1000)
    ready = standardise(microvolts, PLAIN)
    peak = np.abs(microvolts.signal).max()
    assert ready.flags == (f"amplitude:{peak:.3g} mV",)
    given_.signal[6] = 8388.6
    assert standardise(given_, PLAIN).flags == (
        "amplitude:8.39e+03 mV",
        "flat_leads:V1",
    )
    given_.signal[5, 0] = 900.0  # an artefact that is possible
    given_.signal[6] = 0.1
    assert standardise(given_, PLAIN).flags == ("flat_leads:V1",)
    given_.signal[6] = 1e30
    assert reason_of(given_, PLAIN) == "amplitude"
    huge = recording(signal=recording().signal * np.float32(1e30))
    assert reason_of(huge, PLAIN) == "amplitude"


def test_a_signal_below_all_noise_is_refused_and_a_tiny_lead_is_flat():
    given_ = recording()
    unit = given_.signal / np.ptp(given_.signal, axis=1).max()
    for size in (1e-42, 1e-20, 9e-5):
        tiny = dataclasses.replace(given_, signal=unit * np.float32(size))
        with pytest.raises(ReadError, match="No lead varies by more than") as caught:
            standardise(tiny, PLAIN)
        assert caught.value.reason == "amplitude"
    volts = dataclasses.replace(given_, signal=given_.signal / 1000)
    np.testing.assert_array_equal(standardise(volts, PLAIN).signal, volts.signal)
    given_.signal[2] = unit[2] * np.float32(1e-42)
    ready = standardise(given_, PLAIN)
    assert ready.flags == ("flat_leads:III",) and not ready.signal[2].any()


def test_filters_that_overflow_are_named():
    unstable = {"name": "butterworth", "low": 0.05, "high": 0.5, "order": 8}
    with pytest.raises(ReadError, match="FILTERS make lead I") as caught:
        standardise(recording(20_000), dataclasses.replace(PLAIN, filters=(unstable,)))
    assert caught.value.reason == "filters"


def test_the_recording_is_left_as_it_was():
    given_ = recording()
    given_.signal[0, 10:15] = np.nan
    before = given_.signal.copy()
    standardise(given_, dataclasses.replace(PLAIN, target_fs=250, target_samples=100))
    np.testing.assert_array_equal(given_.signal, before)


def test_linear_resampling_is_that_of_the_whole_recording_whatever_is_kept():
    given_ = recording(3601, 360)
    for crop, first in (("start", 0), ("center", 1250)):
        config = PrepareConfig(500, 2500, crop=crop, resampling="linear")
        ready = standardise(given_, config)
        whole = resample_linear(given_.signal, 360, 500)
        assert whole.shape[1] == 5001
        np.testing.assert_array_equal(
            ready.signal, whole[:, first : first + 2500].astype(np.float32)
        )
        assert ready.start == first and ready.signal.dtype == np.float32


def test_the_published_preprocessing_of_ecg_fm(golden_dir):
    golden = np.load(golden_dir / "ecg_fm" / "preprocess.npz")
    order = np.random.default_rng(0).permutation(
        12
    )  # files come in any order, the recipe has one
    given_ = Recording(
        golden["raw"][order], 400.0, tuple(np.array(TWELVE)[order]), "code15"
    )
    config = PrepareConfig(
        500, 5120, TWELVE, crop="start", resampling="linear", filters=("zscore",)
    )
    ready = standardise(given_, config)
    assert ready.valid == (0, 5120)
    # One unit in the last place of float32; the published file was interpolated by
    # another routine.
    np.testing.assert_allclose(ready.signal, golden["preprocessed"], rtol=0, atol=2e-7)
    windows = standardise_windows(
        given_, dataclasses.replace(config, target_samples=2500)
    )
    assert [window.start for window in windows] == [0, 2500]
    for window in windows:
        expected = golden["preprocessed"][:, window.start : window.start + 2500]
        np.testing.assert_allclose(window.signal, expected, rtol=0, atol=2e-7)


def test_leads_are_derived_before_the_recipe_normalises_them(golden_dir):
    golden = np.load(golden_dir / "ecg_fm" / "preprocess.npz")
    have = [0, 1, *range(6, 12)]
    given_ = Recording(
        golden["raw"][have], 400.0, tuple(TWELVE[row] for row in have), "eight leads"
    )
    config = PrepareConfig(
        500, 5120, TWELVE, crop="start", resampling="linear", filters=("zscore",)
    )
    ready = standardise(given_, config)
    np.testing.assert_allclose(
        ready.signal[have], golden["preprocessed"][have], rtol=0, atol=2e-7
    )
    # The file's own aVR, aVL and aVF are rounded to 0.01 mV, up to 0.04 of their
    # deviations.
    np.testing.assert_allclose(
        ready.signal[2], golden["preprocessed"][2], atol=5e-6
    )  # III is II - I
    np.testing.assert_allclose(ready.signal, golden["preprocessed"], atol=0.05)


@pytest.mark.parametrize("fs", [500.0, 360.0, 1000.0])
def test_windows_are_what_a_crop_at_the_same_place_gives(fs):
    given_ = recording(round(fs * 22), fs)
    config = PrepareConfig(target_fs=500, target_samples=1800)
    windows = standardise_windows(given_, config)
    assert [window.start for window in windows] == list(range(0, 10_000, 1800))
    assert {window.valid for window in windows} == {(0, 1800)}
    for window in windows[
        :3
    ]:  # the middle of as much as comes before the window, the window, and as much again
        around = round((2 * window.start + 1800) * fs / 500)
        crop = standardise(
            dataclasses.replace(given_, signal=given_.signal[:, :around]), config
        )
        assert crop.start == window.start
        inner = slice(
            0, 1800 if window.start else 1600
        )  # the first crop ends where that signal ends
        np.testing.assert_allclose(
            window.signal[:, inner],
            crop.signal[:, inner],
            atol=1e-3 * np.ptp(given_.signal),
        )


def test_windows_of_a_recording_that_is_too_short_for_one_are_the_padded_crop():
    given_ = recording(3001)
    for crop in ("start", "center"):
        config = dataclasses.replace(PLAIN, crop=crop, filters=("zscore",))
        (window,), padded = (
            standardise_windows(given_, config),
            standardise(given_, config),
        )
        np.testing.assert_array_equal(window.signal, padded.signal)
        assert (window.valid, window.flags, window.start) == (
            padded.valid,
            padded.flags,
            0,
        )


def test_windows_all_carry_the_flags_of_the_recording_and_refuse_its_faults():
    given_ = recording(12_000)
    given_.signal[0, 10:15] = np.nan
    given_.signal[6] = 0.25
    windows = standardise_windows(given_, PLAIN)
    assert [window.flags for window in windows] == [
        ("nan_repaired", "flat_leads:V1")
    ] * 2
    given_.signal[1, 6000:6400] = np.nan  # in the second window
    with pytest.raises(ReadError) as caught:
        standardise_windows(given_, PLAIN)
    assert caught.value.reason == "nan"
    given_.signal[:] = 1
    with pytest.raises(ReadError, match="constant"):
        standardise_windows(given_, PLAIN)


@pytest.mark.parametrize(
    "changes",
    [
        {"target_fs": 0},
        {"target_fs": 10_000},
        {"target_samples": 0},
        {"shard_size": 0},
        {"n_jobs": 0},
        {"leads": ("I", "I")},
        {"missing_leads": "ignore"},
        {"crop": "end"},
        {"resampling": "cubic"},
        {"store_dtype": "int8"},
    ],
)
def test_impossible_configurations_are_refused_by_name(changes):
    with pytest.raises(ConfigError, match=next(iter(changes)).upper()):
        PrepareConfig(**changes)
