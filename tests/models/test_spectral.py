"""The convolution by Fourier transform against the direct one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ecgnb.models.ecg_fm_parts import SpectralConv

CASES = [
    (768, 128, 16, 156),
    (48, 31, 4, 207),
    (64, 128, 16, 77),
    (12, 7, 3, 1),
    (12, 6, 1, 2),
    (8, 9, 8, 5),
]


def direct(x: torch.Tensor, weight: torch.Tensor, groups: int) -> torch.Tensor:
    padding = weight.shape[-1] // 2
    return F.conv1d(x.transpose(1, 2), weight, padding=padding, groups=groups)[
        ..., : x.shape[1]
    ].transpose(1, 2)


@pytest.mark.parametrize(("dim", "kernel", "groups", "steps"), CASES)
def test_spectral_equals_direct(dim, kernel, groups, steps):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(
        dim, dim // groups, kernel, generator=generator, dtype=torch.float64
    )
    x = torch.randn(3, steps, dim, generator=generator, dtype=torch.float64)
    expected = direct(x, weight, groups)
    scale = expected.abs().max()
    assert (
        SpectralConv(weight, groups, steps)(x) - expected
    ).abs().max() <= 1e-12 * scale
    single = SpectralConv(weight.float(), groups, steps)(x.float())
    assert single.dtype == torch.float32
    assert (single.double() - expected).abs().max() <= 2e-6 * scale


def test_the_end_does_not_reach_into_the_beginning():
    """One tap that looks 64 steps ahead: an impulse at the end must not come back at
    the start."""
    weight = torch.zeros(1, 1, 128, dtype=torch.float64)
    weight[0, 0, 127] = 1.0
    x = torch.zeros(1, 156, 1, dtype=torch.float64)
    x[0, 155] = 1.0
    found = SpectralConv(weight, 1, 156)(x)[0, :, 0]
    assert found.argmax() == 155 - 63 and found[155 - 63] == pytest.approx(1.0)
    found[155 - 63] = 0.0
    assert found.abs().max() < 1e-12
