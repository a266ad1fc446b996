"""Modules with several inputs."""

from __future__ import annotations

import torch
from layer_graphs import (
    module_problems,
)

from ecgnb.port.modules import (
    keras_merge,
)


def test_keras_merge_modules_combine_from_first_to_last() -> None:
    a, b, c = torch.tensor([6.0]), torch.tensor([2.0]), torch.tensor([-1.0])
    for kind, expected in (
        (keras_merge.Add, 7.0),
        (keras_merge.Average, 7 / 3),
        (keras_merge.Multiply, -12.0),
        (keras_merge.Maximum, 6.0),
        (keras_merge.Minimum, -1.0),
    ):
        torch.testing.assert_close(kind()(a, b, c), torch.tensor([expected]))
    torch.testing.assert_close(keras_merge.Subtract()(a, b), torch.tensor([4.0]))


def test_keras_merge_modules_need_torch_alone_and_have_a_relevance() -> None:
    assert module_problems(keras_merge) == []
