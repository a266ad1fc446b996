"""The positional convolution: with and without gradients, by matrix products."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from ecgnb.models.positional_conv import PositionalConv, SpectralConv


def test_the_positional_convolution_is_the_same_with_and_without_gradients():
    for kernel, groups in ((128, 16), (31, 4)):
        torch.manual_seed(1)
        part = PositionalConv(48, kernel, groups)
        for parameter in (part.direction, part.gain, part.bias):
            torch.nn.init.normal_(parameter)
        x = torch.randn(2, 77, 48)
        direct = part(x).detach()
        scale = direct.abs().max()
        with torch.inference_mode():
            assert (part(x) - direct).abs().max() <= 2e-6 * scale
            made = part._cache
            assert part(x) is not None and part._cache is made
        for change in (_in_place, _unseen, _fused_step):
            change(part)
            with torch.inference_mode():
                changed = part(x)
            assert (changed - part(x).detach()).abs().max() <= 5e-6 * scale, (
                f"new weights, new convolution: {change}"
            )
        part.load_state_dict(
            {name: value * 0.5 for name, value in part.state_dict().items()},
            assign=True,
        )
        with torch.inference_mode():
            halved = part(x)
        assert (halved - part(x).detach()).abs().max() <= 2e-6 * scale


def _in_place(part):
    with torch.no_grad():
        part.gain.mul_(1.5)


def _unseen(part):
    """Behind PyTorch's back: no version counter moves."""
    part.direction.data.mul_(0.9).add_(0.01)


def _fused_step(part):
    optimizer = torch.optim.AdamW(part.parameters(), lr=0.05, fused=True)
    part(torch.ones(1, 9, 48)).square().sum().backward()
    optimizer.step()


def test_what_can_be_made_again_is_not_copied():
    part = PositionalConv(48, 31, 4)
    with torch.inference_mode():
        part(torch.zeros(1, 20, 48))
    assert part._cache is not None and copy.deepcopy(part)._cache is None


def test_weight_norm_is_over_channels():
    part = PositionalConv(8, 5, 2)
    torch.nn.init.normal_(part.direction)
    torch.nn.init.uniform_(part.gain, 0.5, 2.0)
    torch.testing.assert_close(
        part.weight().norm(dim=(0, 1)), part.gain.flatten().abs()
    )


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
