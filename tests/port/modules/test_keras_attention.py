"""Attention modules where masks leave nothing."""

from __future__ import annotations

import torch
from layer_graphs import (
    module_problems,
)

from ecgnb.port.modules import (
    keras_attention,
)


def test_layers_attention_where_nothing_is_allowed_is_as_each_keras_has_it() -> None:
    from ecgnb.port.modules.keras_attention import MultiHeadAttention

    torch.manual_seed(0)
    attention = MultiHeadAttention(3, 3, 3, 2, 2, 2, 3)
    x, mask = torch.randn(1, 4, 3), torch.ones(1, 4, 4, dtype=torch.bool)
    mask[0, 1] = False
    even = torch.full((2, 4), 0.25)
    for masking, expected in {
        "add": even,
        "fill": even,
        "zero": torch.zeros(2, 4),
    }.items():
        weights = attention(x, x, x, False, masking, mask)[1]
        torch.testing.assert_close(weights[0, :, 1], expected)
        torch.testing.assert_close(weights[0, :, 0].sum(-1), torch.ones(2))


def test_keras_attention_modules_need_torch_alone() -> None:
    problems = [
        problem for problem in module_problems(keras_attention) if "import" in problem
    ]
    assert not problems
