"""The front door: names and options, warnings, and which part of a model is
explained."""

from __future__ import annotations

import warnings

import pytest
import torch
from explain_fakes import cnn, port, port_inputs, signals
from torch import nn

from ecgnb.core.errors import ConfigError
from ecgnb.explain import explain, gradient, lrp_epsilon_std


def dense(*after: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 2), *after).double()


def test_the_default_is_lrp_epsilon_std():
    assert torch.equal(explain(cnn(), signals()), lrp_epsilon_std(cnn(), signals()))


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(
        ConfigError,
        match=r"no explainer called 'lrp_epsilonstd'. Did you mean 'lrp_epsilon_std'",
    ):
        explain(cnn(), signals(), "lrp_epsilonstd")
    with pytest.raises(
        ConfigError,
        match=r"no option 'step'. Did you mean 'steps'. Its options: baseline, steps",
    ):
        explain(cnn(), signals(), "integrated_gradients", step=3)
    with pytest.raises(ConfigError, match="Its options: none"):
        explain(cnn(), signals(), "gradient", mu=3)


def test_a_port_is_explained_at_its_logits():
    model, x = port(), port_inputs()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = explain(model, x, "gradient", 0)
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(model.logits(leaf)[:, 0].sum(), leaf)[0]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient(model, x, 0), expected)


def test_a_layer_called_logits_is_no_model():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.flat, self.logits = nn.Flatten(), nn.Linear(32, 2)

        def forward(self, x):
            return self.logits(self.flat(x))

    assert explain(Named().double(), signals(), "gradient").shape == (2, 2, 16)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = dense()

    def forward(self, x):
        return torch.softmax(self.inner(x), dim=-1)


@pytest.mark.parametrize(
    "model", [dense(nn.Softmax(dim=-1)), dense(nn.Sigmoid()), Functional().double()]
)
def test_probabilities_raise_a_warning(model):
    with pytest.warns(UserWarning, match="gives probabilities"):
        explain(model, signals(), "gradient")


@pytest.mark.parametrize("last", [nn.Softmax(dim=-1), nn.Sigmoid(), None])
def test_probabilities_of_a_graph_raise_a_warning(last):
    graph = torch.fx.symbolic_trace(dense(last) if last else Functional().double())
    with pytest.warns(UserWarning, match="gives probabilities"):
        explain(graph, signals(), "gradient")


def test_logits_between_zero_and_one_are_no_probabilities():
    model = dense()
    nn.init.zeros_(model[1].weight)
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([0.2, 0.3]))
        model[1].weight[:, 0] = 0.01
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(model, signals(), "gradient")


def test_a_record_without_gradient_raises_a_warning():
    model = dense(nn.ReLU())
    with torch.no_grad():
        model[1].weight.fill_(1.0)
        model[1].bias.fill_(0.0)
    x = torch.ones(3, 2, 16).double()
    x[1] = -1.0
    with pytest.warns(UserWarning, match="zero everywhere for 1 of 3 records"):
        found = explain(model, x, "gradient", 0)
    assert found[1].abs().max() == 0 and found[0].min() == 1


def test_warnings_name_the_callers_line():
    with pytest.warns(UserWarning) as caught:
        explain(dense(nn.Softmax(dim=-1)), signals(), "gradient")
    assert caught[0].filename == __file__
