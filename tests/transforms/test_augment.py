"""What each augmentation does to a signal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ecgnb.transforms.augment import (
    AmplitudeScale,
    BaselineWander,
    GaussianNoise,
    LeadDropout,
    Powerline,
    TimeMask,
    TimeShift,
    _sine,
)

FS = 500.0
SILENCE = torch.zeros(200, 12, 1000)
KEYS = torch.arange(200)


def test_sine_is_the_sine():
    cycles = torch.linspace(-3, 700, 100_001)
    exact = np.sin(2 * np.pi * cycles.double().numpy())
    assert np.abs(_sine(cycles).numpy() - exact).max() < 1e-5


def test_noise_has_the_drawn_level_and_is_white():
    noise = GaussianNoise(sd=0.1, p=1.0)(SILENCE, fs=FS, keys=KEYS)
    level = noise.std((1, 2))
    assert level.max() <= 0.102 and level.min() < 0.01
    assert abs(level.mean() - 0.05) < 0.006
    leads = noise / level[:, None, None]
    assert abs((leads[:, 0] * leads[:, 1]).mean()) < 0.02
    assert abs((leads[..., 1:] * leads[..., :-1]).mean()) < 0.01


def test_wander_is_slow_and_bounded():
    x = torch.zeros(50, 3, 10_000)
    wander = BaselineWander(amplitude=0.4, p=1.0)(x, fs=FS, keys=torch.arange(50))
    assert 0.1 < wander.abs().max() <= 0.4
    power = torch.fft.rfft(wander * torch.hann_window(10_000)).abs().square()
    frequency = torch.fft.rfftfreq(10_000, 1 / FS)
    assert power[..., frequency > 1.0].sum() < 1e-4 * power.sum()
    # The same drift in every lead, each with a gain of its own.
    assert torch.linalg.matrix_rank(wander[0].double(), rtol=1e-4) == 1


@pytest.mark.parametrize("fs", [500.0, 250.0, 110.0])
def test_hum_is_at_the_mains_and_below_half_the_rate(fs):
    n = int(fs * 4)
    hum = Powerline(amplitude=0.2, p=1.0)(
        torch.zeros(100, 2, n), fs=fs, keys=torch.arange(100)
    )
    power = torch.fft.rfft(hum * torch.hann_window(n)).abs().square().sum(1)
    peaks = torch.fft.rfftfreq(n, 1 / fs)[power.argmax(-1)]
    allowed = {f * k for f in (50.0, 60.0) for k in (1, 2, 3)}
    audible = hum.abs().amax((1, 2)) > 1e-6
    assert set(peaks[audible].tolist()) <= {f for f in allowed if f < fs / 2}
    assert {50.0, 60.0} & set(peaks.tolist()) == ({50.0, 60.0} if fs > 120 else {50.0})


def test_scale_grows_and_shrinks_alike():
    x = torch.ones(4000, 2, 3)
    factor = AmplitudeScale(magnitude=0.5, p=1.0)(x, keys=torch.arange(4000))
    assert factor.max() <= 1.5 and factor.min() >= 1 / 1.5
    assert abs(factor.log().mean()) < 0.01
    assert torch.equal(factor[:, 0], factor[:, 1])
    by_lead = AmplitudeScale(magnitude=0.5, p=1.0, per_lead=True)(
        x, keys=torch.arange(4000)
    )
    assert not torch.equal(by_lead[:, 0], by_lead[:, 1])


@pytest.mark.parametrize("n_leads", [1, 2, 12])
def test_dropout_always_leaves_a_lead(n_leads):
    x = torch.ones(500, n_leads, 4)
    out = LeadDropout(p_lead=1.0, p=1.0)(x, keys=torch.arange(500))
    assert (out[:, :, 0].sum(1) == 1).all()
    some = LeadDropout(p_lead=0.3, p=1.0)(x, keys=torch.arange(500))[:, :, 0]
    assert (some.sum(1) >= 1).all()
    if n_leads == 12:
        assert abs((some == 0).double().mean() - 0.3) < 0.03


def test_time_mask_hides_one_stretch_of_the_valid_part():
    x = torch.ones(500, 2, 400)
    mask = torch.zeros(500, 400, dtype=torch.bool)
    mask[:, 100:300] = True
    out = TimeMask(max_fraction=0.5, p=1.0)(x, keys=torch.arange(500), mask=mask)
    hidden = (out[:, 0, 100:300] == 0).int()
    assert torch.equal(out[:, 0], out[:, 1])
    assert 80 < hidden.sum(1).max() <= 100
    assert (hidden.diff(dim=1).abs().sum(1) <= 2).all()
    assert hidden[:, 0].any() and hidden[:, -1].any()


def test_time_shift_rotates_the_valid_part():
    x = torch.zeros(300, 1, 400)
    x[:, 0, 100:300] = torch.arange(1.0, 201.0)
    mask = x[:, 0] > 0
    out = TimeShift(max_seconds=0.1, p=1.0)(x, fs=FS, keys=torch.arange(300), mask=mask)
    shifts = set()
    for record in out[:, 0, 100:300]:
        by = int((record == 1).nonzero())
        assert torch.equal(record, torch.roll(torch.arange(1.0, 201.0), by))
        shifts.add(by if by < 100 else by - 200)
    assert (
        min(shifts) >= -50
        and max(shifts) <= 50
        and min(shifts) < -30
        and max(shifts) > 30
    )
    assert (out[:, 0, :100] == 0).all() and (out[:, 0, 300:] == 0).all()
