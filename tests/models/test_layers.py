"""Layers keep their lengths and statistics."""

from __future__ import annotations

import torch

from ecgnb.models.layers import BatchNorm, ConvNorm, PoolHead, make_norm, make_shortcut


def test_convnorm_length_and_shortcut():
    for n in (1, 7, 8, 313):
        x = torch.randn(2, 4, n)
        for stride in (1, 2, 3):
            length = -(-n // stride)
            assert ConvNorm(4, 6, 5, stride=stride).eval()(x).shape == (2, 6, length)
            assert make_shortcut(4, 6, stride).eval()(x).shape == (2, 6, length)
    assert len(make_shortcut(4, 4, 1)) == 0
    pooled = make_shortcut(1, 1, 2)(torch.tensor([[[1.0, 3.0, 5.0]]]))
    assert pooled.tolist() == [
        [[2.0, 5.0]]
    ]  # the last, half-empty window is averaged over what it has


def test_group_norm_ignores_the_batch():
    norm = make_norm("group", 12)
    assert norm.num_groups == 4
    x = torch.randn(5, 12, 30)
    torch.testing.assert_close(norm(x)[2:3], norm(x[2:3]))


def test_batch_norm_with_one_value_uses_running_statistics():
    norm = BatchNorm(3)
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    torch.testing.assert_close(
        norm(torch.full((1, 3), 4.0)), torch.ones(1, 3), atol=1e-5, rtol=0
    )
    assert norm.running_mean.tolist() == [2.0] * 3
    with torch.no_grad():
        x = torch.randn(4, 3, 10)
        torch.testing.assert_close(BatchNorm(3)(x), torch.nn.BatchNorm1d(3)(x))


def test_pools():
    features = torch.tensor([[[1.0, 2.0, 6.0], [0.0, 0.0, -3.0]]])
    expected = {"avg": [3.0, -1.0], "max": [6.0, 0.0], "avgmax": [3.0, -1.0, 6.0, 0.0]}
    for pool, values in expected.items():
        assert PoolHead(2, 5, pool=pool).eval().embed(features)[0].tolist() == values
