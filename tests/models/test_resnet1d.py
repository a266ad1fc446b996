"""The workbench's own network: cost, rates and options."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ecgnb.models import build_model, model_summary


def build(fs: float = 500.0, n_samples: int = 5000, **options):
    return build_model(
        "resnet1d", n_leads=12, n_samples=n_samples, fs=fs, n_classes=5, **options
    )


def test_cost():
    table = model_summary(build()).set_index("part")
    # Two floating point operations a multiply-add: under 0.35 billion multiply-adds.
    assert table.flops["total"] == 396_337_536 < 2 * 350_000_000
    assert table.parameters["total"] == 1_522_309
    assert table.output["stages.3"] == "192 x 79"


@pytest.mark.parametrize(
    ("fs", "reduction"),
    [(1000.0, 128), (500.0, 64), (400.0, 48), (250.0, 32), (100.0, 16), (50.0, 16)],
)
def test_stem_follows_the_rate_and_parameters_do_not(fs, reduction):
    model = build(fs, int(10 * fs))
    assert model.feature_info[-1]["reduction"] == reduction
    assert model.n_parameters() == 1_522_309
    assert (
        30 <= model.forward_features(torch.zeros(1, 12, int(10 * fs))).shape[-1] <= 90
    )


def test_options_reach_every_block():
    model = build(
        widths=(8, 16),
        depths=(1, 3),
        kernel=3,
        norm="group",
        pool="avgmax",
        dropout=0.4,
    )
    assert [len(stage) for stage in model.stages] == [1, 3]
    kernels = {
        c.kernel_size
        for stage in model.stages
        for c in stage.modules()
        if isinstance(c, nn.Conv1d)
    }
    assert kernels == {(3,), (1,)}
    norms = [m for m in model.modules() if isinstance(m, nn.GroupNorm | nn.BatchNorm1d)]
    assert len(norms) == 1 + 2 * 4 + 1 and all(
        isinstance(norm, nn.GroupNorm) for norm in norms
    )
    assert model.head.classifier.in_features == 32
    assert model.head.neck[-1].p == 0.4


def test_every_residual_branch_starts_at_zero():
    blocks = [block for stage in build().stages for block in stage]
    assert len(blocks) == 8
    assert all((block.branch[-1].norm.weight == 0).all() for block in blocks)


def test_group_norm_makes_a_record_independent_of_its_batch():
    model = build(norm="group", dropout=0.0).train()
    x = torch.randn(3, 12, 5000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(x)[1:2], model(x[1:2]), atol=1e-5, rtol=1e-4)
