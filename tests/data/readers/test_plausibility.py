import numpy as np
import pytest

from ecgnb.data.readers.plausibility import (
    amplitude_is_implausible,
    gain_is_known_wrong,
    robust_amplitude,
)

RNG = np.random.default_rng(0)
CHALLENGE = {
    "age": "70",
    "sex": "Male",
    "dx": "1",
    "rx": "Unknown",
    "hx": "Unknown",
    "sx": "Unknown",
}


def test_the_range_between_the_percentiles():
    ramp = np.tile(np.linspace(0, 2, 10_000, dtype=np.float32), (3, 1))
    assert robust_amplitude(ramp) == pytest.approx(2 * 0.98, rel=0.02)


def test_one_wild_lead_and_one_spike_do_not_count():
    signal = RNG.normal(0, 0.3, (12, 5000)).astype(np.float32)
    calm = robust_amplitude(signal)
    signal[3] *= 1e4
    signal[:, 2500] = 1e6
    assert robust_amplitude(signal) == pytest.approx(calm, rel=0.1)


def test_flat_leads_and_invalid_samples_are_left_out():
    signal = np.zeros((3, 1000), np.float32)
    signal[1] = np.sin(np.arange(1000))
    assert robust_amplitude(signal) == pytest.approx(2, rel=0.05)
    signal[:, ::2] = np.nan
    signal[2] = np.nan
    assert robust_amplitude(signal) == pytest.approx(2, rel=0.05)
    assert np.isnan(robust_amplitude(np.zeros((2, 100), np.float32)))
    assert np.isnan(robust_amplitude(np.full((2, 100), np.nan, np.float32)))


@pytest.mark.parametrize(
    ("scale", "implausible"),
    [(1, False), (1e-5, True), (1e3, True), (0.2, False), (5, False)],
)
def test_kilovolts_and_nanovolts_are_implausible_a_factor_of_five_is_not(
    scale, implausible
):
    signal = (np.sin(np.arange(5000) / 10) * 0.5 * scale).astype(np.float32)[None]
    assert amplitude_is_implausible(signal) is implausible


def test_a_flat_signal_is_not_judged():
    assert not amplitude_is_implausible(np.zeros((12, 5000), np.float32))
    assert not amplitude_is_implausible(np.ones((1, 1), np.float32))


def test_wrong_gains_of_challenge_headers():
    assert gain_is_known_wrong([4880.0], CHALLENGE)
    assert not gain_is_known_wrong([1000.0], CHALLENGE)
    assert not gain_is_known_wrong(
        [200.0], {"age": "69"}
    )  # a true gain of 200 elsewhere
