"""Golden numbers of the published xresnet1d: 12 leads, 71 classes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ecgnb.models import build_model, model_summary
from ecgnb.models.layers import Residual


def build(depth: int = 101, n_samples: int = 1000, fs: float = 100.0):
    return build_model(
        f"xresnet1d{depth}", n_leads=12, n_samples=n_samples, fs=fs, n_classes=71
    )


def test_body_parameters():
    model = build()
    head = sum(parameter.numel() for parameter in model.head.parameters())
    assert model.n_parameters() - head == 1_804_672


@pytest.mark.parametrize(("n_samples", "length"), [(5000, 157), (1000, 32), (250, 8)])
def test_feature_shape(n_samples, length):
    model = build().eval()
    with torch.no_grad():
        assert model.forward_features(torch.zeros(1, 12, n_samples)).shape == (
            1,
            256,
            length,
        )


@pytest.mark.parametrize(
    ("depth", "n_samples", "flops"),
    [
        (101, 1000, 324_276_992),
        (101, 250, 82_293_248),
        (101, 5000, 1_614_879_744 + 149_248),
    ],
)
def test_flops_of_the_whole_model(depth, n_samples, flops):
    assert model_summary(build(depth, n_samples)).flops.iloc[-1] == flops


def test_flops_of_the_body():
    table = model_summary(build(101, 5000, 500.0)).set_index("part")
    assert table.flops["total"] - table.flops["head"] == 1_614_879_744


@pytest.mark.parametrize(
    ("depth", "gflops"),
    [(18, 0.471), (34, 0.791), (50, 1.048), (101, 1.615), (152, 2.315)],
)
def test_flops_of_all_depths(depth, gflops):
    assert (
        round(model_summary(build(depth, 5000, 500.0)).flops.iloc[-1] / 1e9, 3)
        == gflops
    )


def test_stem():
    convs = [
        module for module in build().stem.modules() if isinstance(module, nn.Conv1d)
    ]
    assert [
        (c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in convs
    ] == [
        (12, 32, (5,), (2,)),
        (32, 32, (5,), (1,)),
        (32, 64, (5,), (1,)),
    ]
    assert all(conv.bias is None for conv in convs)
    pool = build().stem[-1]
    assert isinstance(pool, nn.MaxPool1d) and (
        pool.kernel_size,
        pool.stride,
        pool.padding,
    ) == (3, 2, 1)


@pytest.mark.parametrize(
    ("depth", "blocks", "convs"), [(34, (3, 4, 6, 3), 2), (101, (3, 4, 23, 3), 3)]
)
def test_blocks(depth, blocks, convs):
    model = build(depth)
    assert tuple(len(stage) for stage in model.stages) == blocks
    for index, stage in enumerate(model.stages):
        for place, block in enumerate(stage):
            assert isinstance(block, Residual) and len(block.branch) == convs
            assert all((part.norm.weight == 1).all() for part in block.branch[:-1])
            assert (block.branch[-1].norm.weight == 0).all(), (
                "the last normalisation starts at 0"
            )
            kinds = [type(part) for part in block.shortcut.children()]
            first = place == 0
            pools = first and index > 0
            projects = first and index == 0 and depth == 101
            assert len(kinds) == pools + projects
            if pools:
                pool = next(block.shortcut.children())
                assert (
                    isinstance(pool, nn.AvgPool1d)
                    and pool.ceil_mode
                    and pool.kernel_size == (2,)
                )


def test_a_block_starts_as_its_shortcut():
    block = build().stages[1][0].eval()
    x = torch.rand(2, 256, 51)
    torch.testing.assert_close(block(x), block.shortcut(x))


def test_head():
    head = build().head
    kinds = [type(layer).__name__ for layer in head.neck]
    assert kinds == ["BatchNorm", "Dropout", "Linear", "ReLU", "BatchNorm", "Dropout"]
    assert [layer.p for layer in head.neck if isinstance(layer, nn.Dropout)] == [
        0.25,
        0.5,
    ]
    assert (head.neck[2].in_features, head.neck[2].out_features) == (512, 128)
    assert (head.classifier.in_features, head.classifier.out_features) == (128, 71)
