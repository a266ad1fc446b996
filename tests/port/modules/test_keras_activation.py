"""Activations that PyTorch has not."""

from __future__ import annotations

import torch
from layer_graphs import (
    module_problems,
)

from ecgnb.port.modules import (
    keras_activation,
)


def test_keras_activation_modules_are_their_formulas() -> None:
    x = torch.linspace(-3, 3, 61)
    formulas = {
        keras_activation.HardSigmoid: (0.2 * x + 0.5).clip(0, 1),
        keras_activation.Exponential: x.exp(),
        keras_activation.SparseSigmoid: ((x + 1) / 2).clip(0, 1),
        keras_activation.Squareplus: (x + (x**2 + 4).sqrt()) / 2,
    }
    for kind, expected in formulas.items():
        torch.testing.assert_close(kind()(x), expected)


def test_keras_activation_modules_need_torch_alone_and_have_a_relevance() -> None:
    assert module_problems(keras_activation) == ["SoftmaxOver has no relevance"]
