"""Padding, pooling, shapes and noise."""

from __future__ import annotations

import torch
from layer_graphs import (
    graph_of,
    layer,
    module_problems,
    port_of,
)
from torch import nn

from ecgnb.port.modules import (
    basic,
)
from ecgnb.port.modules.basic import GaussianDropout, GaussianNoise


def test_layers_of_training_do_what_keras_says_when_the_port_is_trained() -> None:
    x = torch.ones(200_000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module, variance in (
            (GaussianNoise(0.3), 0.09),
            (GaussianDropout(0.2), 0.25),
        ):
            assert torch.equal(module.eval()(x), x)
            found = module.train()(x)
            assert abs(float(found.mean()) - 1) < 5e-3
            assert abs(float(found.var()) - variance) < 5e-3
    assert (
        type(port_of(graph_of(layer("SpatialDropout1D", rate=0.2))).layer_0)
        is nn.Dropout1d
    )
    assert (
        type(
            port_of(
                graph_of(layer("Dropout", rate=0.2, noise_shape=[None, 1, 4]))
            ).layer_0
        )
        is nn.Dropout1d
    )


def test_basic_modules_need_torch_alone_and_have_a_relevance() -> None:
    assert module_problems(basic) == ["SeparableConv1d does not show its options"]
