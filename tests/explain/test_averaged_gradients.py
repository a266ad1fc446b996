"""Integrated gradients keep their promise of completeness; noise is seeded and averaged
right."""

from __future__ import annotations

import pytest
import torch
from explain_fakes import cnn, port, port_inputs, signals, waves
from torch import nn

from ecgnb.core.errors import ConfigError
from ecgnb.explain import (
    averaged_gradients,
    gradient,
    integrated_gradients,
    smoothgrad,
    vargrad,
)
from ecgnb.models import build_model


class Cubic(nn.Module):
    """x^3 summed: gradient 3 x^2, integral from a to x of it x^3 - a^3."""

    def forward(self, x):
        return x.pow(3).sum(-1, keepdim=True)


def test_integrated_gradients_of_a_cubic():
    x, low = torch.tensor([[2.0, -1.0, 0.5]]).double(), 0.5
    found = integrated_gradients(Cubic(), x, baseline=low, steps=1000)
    torch.testing.assert_close(found, x**3 - low**3, rtol=1e-5, atol=1e-5)
    midpoint = integrated_gradients(Cubic(), x, steps=1)
    torch.testing.assert_close(midpoint, x * 3 * (x / 2) ** 2)


def test_integrated_gradients_are_complete_on_a_real_model():
    torch.manual_seed(0)
    model = build_model(
        "resnet1d", n_leads=2, n_samples=250, fs=100.0, n_classes=3
    ).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):  # fresh blocks do nothing
            nn.init.uniform_(module.weight, 0.5, 1.5)
    x, low = waves(2, 2, 250, pace=0.21).float(), 0.2 * waves(2, 1, pace=1.0).float()
    change = (model(x) - model(low.expand_as(x)))[:, 2].detach()
    assert (change.abs() > 0.1).all()
    gaps = {}
    for steps in (1, 100):
        attribution = integrated_gradients(model, x, 2, baseline=low, steps=steps)
        gaps[steps] = (attribution.sum((1, 2)) - change).abs()
    assert (gaps[100] < 2e-3 * change.abs()).all()
    assert (gaps[1] > 10 * gaps[100]).all()


def test_two_inputs_are_complete_together():
    ecg, age = port_inputs(True)
    parts = integrated_gradients(
        port(True), (ecg, age), 0, baseline=(0.1, torch.zeros(1)), steps=500
    )
    logits = port(True).logits
    silent = logits(torch.full_like(ecg, 0.1), torch.zeros_like(age))
    change = (logits(ecg, age) - silent)[:, 0].detach()
    gap = parts[0].sum((1, 2)) + parts[1].sum(1) - change
    assert (gap.abs() < 1e-3).all() and all(part.abs().sum() > 0 for part in parts)


def test_chunks_change_nothing(monkeypatch):
    whole = [
        method(cnn(), signals(), 0)
        for method in (integrated_gradients, smoothgrad, vargrad)
    ]
    monkeypatch.setattr(
        averaged_gradients, "MAX_RECORDS", 7
    )  # three versions of two records at once; 50 is no multiple
    for method, expected in zip(
        (integrated_gradients, smoothgrad, vargrad), whole, strict=True
    ):
        torch.testing.assert_close(
            method(cnn(), signals(), 0), expected, rtol=1e-10, atol=1e-12
        )


def test_smoothgrad_and_vargrad_by_hand():
    x = torch.stack([signals()[0], 3 * signals()[1]])
    ranges = [float(record.max() - record.min()) for record in x]
    generator = torch.Generator().manual_seed(5)
    copies = []
    for _ in range(9):
        drawn = torch.randn(2, 16, generator=generator).double()
        noisy = torch.stack([x[k] + 0.3 * ranges[k] * drawn for k in range(2)])
        copies.append(gradient(cnn(), noisy, 1))
    stacked = torch.stack(copies)
    options = {"noise": 0.3, "samples": 9, "seed": 5}
    torch.testing.assert_close(smoothgrad(cnn(), x, 1, **options), stacked.mean(0))
    torch.testing.assert_close(
        vargrad(cnn(), x, 1, **options), stacked.var(0, correction=0)
    )
    assert not torch.equal(
        smoothgrad(cnn(), x, 1, **{**options, "seed": 6}),
        smoothgrad(cnn(), x, 1, **options),
    )


class TimeFirst(nn.Module):
    """A model of ``[B, C, T]`` that takes ``[B, T, C]``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.transpose(1, 2))


def test_smoothgrad_of_two_layouts_differs_by_the_error_of_the_estimate():
    def gap(samples: int) -> float:
        one = smoothgrad(cnn(), signals(), 0, samples=samples)
        other = smoothgrad(
            TimeFirst(cnn()), signals().transpose(1, 2), 0, samples=samples
        ).transpose(1, 2)
        return float((one - other).norm() / one.norm())

    assert 0 < gap(1600) < 0.5 * gap(50) < 0.5  # root of 32 times fewer: a sixth


def test_without_noise_it_is_the_gradient():
    torch.testing.assert_close(
        smoothgrad(cnn(), signals(), 1, noise=0.0), gradient(cnn(), signals(), 1)
    )
    assert vargrad(cnn(), signals(), 1, noise=0.0).abs().max() < 1e-20


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (integrated_gradients, {"steps": 0}, "steps is 0"),
        (integrated_gradients, {"baseline": torch.zeros(5)}, "baseline does not fit"),
        (integrated_gradients, {"baseline": (0.0, 0.0)}, "baseline does not fit"),
        (smoothgrad, {"samples": 2.5}, "samples is 2.5"),
        (vargrad, {"noise": -0.1}, "noise is -0.1"),
    ],
)
def test_wrong_options_are_refused(method, options, message):
    with pytest.raises(ConfigError, match=message):
        method(cnn(), signals(), **options)
