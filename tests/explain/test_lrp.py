"""Layer-wise relevance propagation against the formulas of its papers, written out with
dense matrices in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explain_fakes import (
    Flat,
    Sum,
    cnn,
    filled,
    port,
    port_inputs,
    signals,
    waves,
    without_biases,
)
from numpy.testing import assert_allclose
from torch import Tensor, nn

from ecgnb.explain import (
    gradient_x_input,
    lrp,
    lrp_epsilon_std,
    lrp_sign_epsilon_std,
    lrp_z,
)
from ecgnb.explain.rules import AlphaBeta, Epsilon, EpsilonStd, Sign
from ecgnb.models import build_model

RULES = [Epsilon(0.0), Epsilon(0.3), EpsilonStd(0.5), AlphaBeta(1, 0), AlphaBeta(2, 1)]
every_rule = pytest.mark.parametrize("rule", RULES, ids=str)


def share(
    rule, matrix: np.ndarray, bias: np.ndarray, x: np.ndarray, relevance: np.ndarray
) -> np.ndarray:
    """Relevance of the inputs of z_j = sum_i matrix[j, i] x_i + bias_j, straight from
    the definitions."""
    contributions = matrix * x  # [j, i]
    if isinstance(rule, AlphaBeta):
        up, down = np.maximum(contributions, 0), np.minimum(contributions, 0)
        z_up, z_down = (
            up.sum(1) + np.maximum(bias, 0),
            down.sum(1) + np.minimum(bias, 0),
        )
        for_it = (
            up / np.where(z_up == 0, np.inf, z_up)[:, None] * relevance[:, None]
        ).sum(0)
        against = (
            down / np.where(z_down == 0, np.inf, z_down)[:, None] * relevance[:, None]
        ).sum(0)
        return rule.alpha * for_it - rule.beta * against
    epsilon = rule.epsilon * (x.std() if isinstance(rule, EpsilonStd) else 1.0)
    z = contributions.sum(1) + bias
    z = z + epsilon * np.where(z >= 0, 1, -1)
    return (contributions / z[:, None] * relevance[:, None]).sum(0)


def conv_matrix(weight: np.ndarray, length: int, padding: int) -> np.ndarray:
    """A convolution of stride 1 as a matrix, from its definition."""
    c_out, c_in, kernel = weight.shape
    steps = length + 2 * padding - kernel + 1
    matrix = np.zeros((c_out, steps, c_in, length))
    for t in range(steps):
        for k in range(kernel):
            if 0 <= t + k - padding < length:
                matrix[:, t, :, t + k - padding] = weight[:, :, k]
    return matrix.reshape(c_out * steps, c_in * length)


def arrays(module: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    return module.weight.detach().numpy(), module.bias.detach().numpy()


class Winner(nn.Module):
    """[B, 2, 8] -> convolution, ReLU, maximum of pairs, dense."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.pool = (
            nn.Conv1d(2, 3, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool1d(2),
        )
        self.dense = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(torch.flatten(self.pool(self.act(self.conv(x))), 1))


@every_rule
def test_convolution_maximum_and_dense_layer(rule):
    model, x = filled(Winner()), waves(1, 2, 8, pace=0.9)
    weight, bias = arrays(model.conv)
    matrix, shift, signal = (
        conv_matrix(weight, 8, 1),
        np.repeat(bias, 8),
        x.numpy().reshape(-1),
    )
    hidden = np.maximum(matrix @ signal + shift, 0).reshape(3, 4, 2)
    pooled = hidden.max(-1).reshape(-1)
    dense, last = arrays(model.dense)
    logits = dense @ pooled + last
    assert_allclose(model(x)[0].detach(), logits)
    at_pooled = share(rule, dense, last, pooled, np.array([0, logits[1]]))
    at_hidden = np.zeros((3, 4, 2))
    np.put_along_axis(
        at_hidden, hidden.argmax(-1)[..., None], at_pooled.reshape(3, 4, 1), axis=-1
    )
    expected = share(rule, matrix, shift, signal, at_hidden.reshape(-1))
    assert_allclose(
        lrp(model, x, 1, rule=rule)[0].reshape(-1), expected, rtol=1e-9, atol=1e-12
    )


class Block(nn.Module):
    """A residual block whose branch ends in a normalisation, and a normalisation on its
    own behind the sum."""

    def __init__(self, add: nn.Module | None):
        super().__init__()
        self.first, self.act, self.conv = (
            nn.Conv1d(1, 2, 1),
            nn.ELU(),
            nn.Conv1d(2, 2, 3, padding=1),
        )
        self.norm, self.add, self.after, self.dense = (
            nn.BatchNorm1d(2),
            add,
            nn.BatchNorm1d(2),
            nn.Linear(2, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        start = self.act(self.first(x))
        branch = self.norm(self.conv(start))
        both = self.add(branch, start) if self.add else branch + start
        return self.dense(self.after(both).mean(-1))


def affine(norm: nn.BatchNorm1d) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = arrays(norm)
    factor = weight / np.sqrt(norm.running_var.numpy() + norm.eps)
    return factor, bias - factor * norm.running_mean.numpy()


@every_rule
@pytest.mark.parametrize("add", [None, Sum()], ids=["function", "module"])
def test_residual_sum_and_batch_normalisation(rule, add):
    length, model, x = 6, filled(Block(add)), waves(1, 1, 6, pace=0.9)
    z = Epsilon(0.0)  # rule of what has no weights
    weight, bias = arrays(model.first)
    lift, lift_shift = conv_matrix(weight, length, 0), np.repeat(bias, length)
    start = lift @ x.numpy().reshape(-1) + lift_shift
    start = np.where(start > 0, start, np.expm1(start))
    weight, bias = arrays(model.conv)
    factor, shift = affine(model.norm)  # makes one layer with the convolution
    conv = conv_matrix(weight * factor[:, None, None], length, 1)
    conv_shift = np.repeat(bias * factor + shift, length)
    branch = conv @ start + conv_shift
    both = branch + start
    factor, shift = (
        np.repeat(part, length) for part in affine(model.after)
    )  # on its own
    features = factor * both + shift
    mean = np.kron(np.eye(2), np.full((1, length), 1 / length))
    dense, last = arrays(model.dense)
    logits = dense @ mean @ features + last
    assert_allclose(model(x)[0].detach(), logits)

    at_mean = share(rule, dense, last, mean @ features, np.array([logits[0], 0]))
    at_features = share(z, mean, np.zeros(2), features, at_mean)
    at_both = share(rule, np.diag(factor), shift, both, at_features)
    at_branch, at_start = branch / both * at_both, start / both * at_both
    at_start = at_start + share(rule, conv, conv_shift, start, at_branch)
    expected = share(rule, lift, lift_shift, x.numpy().reshape(-1), at_start)
    assert_allclose(lrp(model, x, 0, rule=rule)[0, 0], expected, rtol=1e-8, atol=1e-11)


def test_gradient_times_input_is_lrp_z_of_a_relu_network():
    """With LRP-0 biases only absorb: still the gradient times the input (Shrikumar et
    al. 2016)."""
    for model in (cnn(), without_biases(cnn())):
        torch.testing.assert_close(
            lrp_z(model, signals()), gradient_x_input(model, signals())
        )
    torch.manual_seed(0)
    model = build_model(
        "xresnet1d18", n_leads=2, n_samples=300, fs=100.0, n_classes=3
    ).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
    x = waves(2, 2, 300, pace=0.21)
    torch.testing.assert_close(
        lrp_z(model, x), gradient_x_input(model, x), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize(
    "rule", [Epsilon(0.0), AlphaBeta(1, 0), AlphaBeta(2, 1)], ids=str
)
@pytest.mark.parametrize("input_rule", [None, Flat()], ids=["none", "flat"])
def test_without_biases_relevance_is_conserved(rule, input_rule):
    model = without_biases(cnn())
    with torch.no_grad():  # every output needs a positive and a negative contribution for alpha-beta to conserve
        x = 1.0 + 0.1 * signals()
    logits = model(x).detach()
    for target in (0, 1):
        total = lrp(model, x, target, rule=rule, input_rule=input_rule).sum((1, 2))
        torch.testing.assert_close(total, logits[:, target])


def test_a_bias_absorbs_relevance():
    model = nn.Linear(2, 1).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0]]))
        model.bias.fill_(3.0)
    x = torch.tensor([[2.0, 1.0]]).double()  # contributions 2 and -2, bias 3: logit 3
    assert lrp(model, x, 0, rule=Epsilon(0.0)).tolist() == [[2, -2]]
    assert lrp(model, x, 0, rule=Epsilon(1.0)).tolist() == [[1.5, -1.5]]
    found = lrp(
        model, x, 0, rule=AlphaBeta(2, 1)
    )  # positive part 2 + 3, negative part -2
    torch.testing.assert_close(
        found, torch.tensor([[2 * 3 * 2 / 5, -1.0 * 3]]).double()
    )


def test_sign_rule_by_hand():
    model = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 4.0, 2.0]]))
    x = torch.tensor(
        [[3.0, 0.0, -0.5]]
    ).double()  # z = 2; the factors are w R / z = 1, 4, 2
    assert lrp(
        model, x, 0, rule=Epsilon(0.0), input_rule=Sign(Epsilon(0.0))
    ).tolist() == [[1, 4, -2]]
    spread = np.std([3.0, 0.0, -0.5])
    found = lrp_sign_epsilon_std(model, x, 0, factor=0.5)
    assert_allclose(found, np.array([[1, 4, -2]]) * 2 / (2 + 0.5 * spread))


def test_sign_changes_the_first_layer_only():
    """LRP-SIGN is LRP-epsilon-std with the input divided out: R * sign(x) / x."""
    x = port_inputs()
    plain, signed = lrp_epsilon_std(port(), x), lrp_sign_epsilon_std(port(), x)
    torch.testing.assert_close(
        signed, plain / x * torch.where(x >= 0, 1.0, -1.0), rtol=1e-7, atol=1e-9
    )


def test_each_input_has_its_first_layer():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (
                nn.Linear(2, 2, bias=False),
                nn.Linear(1, 2, bias=False),
                nn.Linear(4, 1, bias=False),
            )

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.c(torch.cat([self.a(x), self.b(y)], dim=1))

    model, inputs = filled(Two()), (waves(1, 2, pace=0.5), waves(1, 1, pace=2.0))
    x, y = lrp(model, inputs, 0, rule=Epsilon(0.0), input_rule=Flat())
    torch.testing.assert_close(x[0, 0], x[0, 1])  # equal shares of what reached layer a
    torch.testing.assert_close(x.sum() + y.sum(), model(*inputs)[0, 0].detach())


def test_epsilon_std_is_taken_of_each_record():
    model, x = cnn(), signals()
    together = lrp_epsilon_std(model, torch.stack([x[0], 100 * x[1]]), 0)
    torch.testing.assert_close(together[0], lrp_epsilon_std(model, x[:1], 0)[0])
