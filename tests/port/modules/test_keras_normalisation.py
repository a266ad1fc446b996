"""Normalisations that PyTorch has not."""

from __future__ import annotations

import torch
from layer_graphs import (
    module_problems,
)

from ecgnb.port.modules import (
    keras_normalisation,
)


def test_keras_normalisation_of_vectors_gives_length_1_unless_they_are_shorter() -> (
    None
):
    x = torch.tensor([[3.0, 4.0], [0.003, 0.004]])
    unit = keras_normalisation.UnitNormalization((-1,), eps=0.05)(x)
    torch.testing.assert_close(unit, torch.tensor([[0.6, 0.8], [0.06, 0.08]]))


def test_keras_normalisation_inverts() -> None:
    module = keras_normalisation.Normalization(1, 2)
    module.mean.copy_(torch.tensor([1.0, 2.0]))
    module.variance.copy_(torch.tensor([4.0, 9.0]))
    x = torch.tensor([[5.0, 5.0]])
    torch.testing.assert_close(module(x), torch.tensor([[2.0, 1.0]]))
    module.invert = True
    torch.testing.assert_close(module(torch.tensor([[2.0, 1.0]])), x)


def test_keras_normalisation_modules_need_torch_alone_and_have_a_relevance() -> None:
    assert module_problems(keras_normalisation) == []
