"""Relevance through all that a graph may hold: products, rearrangements, operations in
place; and what is refused."""

from __future__ import annotations

import pytest
import torch
from explain_fakes import Gate, filled, signals, waves
from numpy.testing import assert_allclose
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.explain import gradient_x_input, lrp, lrp_z
from ecgnb.explain.rules import Epsilon, Sign


class Gated(nn.Module):
    def __init__(self, product, gate):
        super().__init__()
        self.conv, self.squeeze, self.product, self.gate = (
            nn.Conv1d(1, 2, 1),
            nn.Linear(2, 2),
            product,
            gate,
        )
        self.dense = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x)
        return self.dense(self.product(features, self.gate(self, features)).mean(-1))


def excite(model: Gated, features: Tensor) -> Tensor:
    return torch.sigmoid(model.squeeze(features.mean(-1))).unsqueeze(-1)


@pytest.mark.parametrize(
    ("product", "gate"),
    [
        (lambda x, gate: x * gate, excite),
        (lambda x, gate: torch.mul(gate, x), excite),
        (Gate(), excite),
        (
            lambda x, gate: x * gate,
            lambda model, features: features.amax(-1, keepdim=True),
        ),  # fewer elements
        (lambda x, gate: x.mul(gate), lambda model, features: torch.tanh(features)),
        (
            lambda x, gate: x * gate,
            lambda model, features: excite(model, features).expand(-1, -1, 5),
        ),
    ],
)
def test_the_signal_takes_all_of_a_product(product, gate):
    model, x = filled(Gated(product, gate)), waves(1, 1, 5, pace=0.9)
    with torch.no_grad():
        features = model.conv(x)
        fixed = features * gate(model, features)
        at_mean = (
            model.dense.weight[0]
            * fixed.mean(-1)[0]
            / (z := model.dense(fixed.mean(-1))[0, 0])
            * z
        )
        at_features = (
            fixed[0] / fixed[0].sum(-1, keepdim=True) * at_mean[:, None]
        )  # that of the product, unchanged
        weight = model.conv.weight[:, 0]
        expected = (weight * x[0] / features[0] * at_features).sum(0)
    torch.testing.assert_close(lrp(model, x, 0, rule=Epsilon(0.0))[0, 0], expected)


def test_a_product_of_two_signals_is_refused():
    with pytest.raises(
        ConfigError,
        match=r"LRP stops at 'mul' .* two signals of one size, and neither is a gate",
    ):
        lrp_z(
            filled(
                Gated(lambda x, gate: x * gate, lambda model, features: features + 1)
            ),
            waves(1, 1, 5, pace=0.9),
        )


class Written(nn.Module):
    """What a forward may be written with between two dense layers that see six
    values."""

    def __init__(self, between):
        super().__init__()
        self.first, self.between, self.last = (
            nn.Linear(6, 6, bias=False),
            between,
            nn.LazyLinear(2, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first(x).unflatten(1, (2, 3))))


BETWEEN = {
    "mean": lambda x: x.mean(-1),
    "max": lambda x: x.max(dim=-1)[0],
    "max values": lambda x: x.max(dim=-1).values,
    "amax": lambda x: torch.amax(x, dim=-1),
    "chunk": lambda x: torch.cat(
        [x.chunk(3, dim=2)[2], x.chunk(3, dim=2)[0]], dim=2
    ).flatten(1),
    "slice": lambda x: x[:, :, 1:].reshape(x.shape[0], -1),
    "view": lambda x: x.transpose(1, 2).contiguous().view(x.size(0), 6),
    "pad": lambda x: nn.functional.pad(x, (1, 2)).flatten(1),
    "stack": lambda x: torch.stack([x[:, 0], x[:, 1]], dim=2).squeeze(-1).flatten(1),
    "scale": lambda x: (2 * x / 4).flatten(1),
    "constant": lambda x: (x @ torch.eye(3)).flatten(1),
    "subtract": lambda x: x[:, 0] - x[:, 1],
    "negative": lambda x: -x.sum(-1),
    "twice": lambda x: (x + x).permute(0, 2, 1).flatten(1),
    "in place": lambda x: nn.functional.relu(x, inplace=True).flatten(1),
    "maximum": lambda x: torch.maximum(x[:, 0], x[:, 1]),
    "pooled": lambda x: nn.functional.max_pool1d(x, 3).flatten(1),
    "modules": nn.Sequential(
        nn.ZeroPad1d(1),
        nn.Upsample(scale_factor=2),
        nn.AvgPool1d(2),
        nn.Identity(),
        nn.Flatten(),
    ),
    "upsampled": nn.Sequential(
        nn.Upsample(scale_factor=2, mode="linear"),
        nn.ConvTranspose1d(2, 2, 2, bias=False),
        nn.Flatten(),
    ),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_relevance_is_kept_by_piecewise_linear_operations(name):
    """All of these have no bias: LRP-z is the gradient times the input, and sums to the
    logit."""
    torch.manual_seed(0)
    model, x = Written(BETWEEN[name]), waves(3, 6, pace=0.9).float()
    model(x)
    found = lrp_z(model, x, 1)
    torch.testing.assert_close(
        found, gradient_x_input(model, x, 1), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        found.sum(1), model(x)[:, 1].detach(), rtol=1e-4, atol=1e-5
    )


class Aliased(nn.Module):
    """The convolution sees what the activation overwrites afterwards."""

    def __init__(self):
        super().__init__()
        self.first, self.conv, self.act = (
            nn.Conv1d(1, 1, 3, bias=False),
            nn.Conv1d(1, 1, 1, bias=False),
            nn.ReLU(True),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = self.conv(y)
        return (z + self.act(y)).sum(-1)


def test_operations_in_place_do_not_change_recorded_values():
    model, x = filled(Aliased()), waves(1, 1, 8, pace=1.1)
    apart = nn.Sequential(model.first, Apart(model.conv))
    torch.testing.assert_close(lrp_z(model, x), gradient_x_input(apart, x))


def test_a_linear_module_may_work_in_place():
    class Doubled(nn.Module):
        relevance = "linear"

        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(2.0)

    model, x = (
        filled(nn.Sequential(nn.Linear(3, 3), Doubled(), nn.Linear(3, 2))),
        waves(2, 3, pace=0.8),
    )
    torch.testing.assert_close(lrp_z(model, x), gradient_x_input(model, x))


class Apart(nn.Module):
    def __init__(self, conv: nn.Module):
        super().__init__()
        self.conv = conv

    def forward(self, y: Tensor) -> Tensor:
        return (self.conv(y) + torch.relu(y)).sum(-1)


def test_a_normalisation_over_another_axis_is_not_merged():
    """Behind a dense layer on [B, T, F], a normalisation works on T, although F is as
    large."""
    model = filled(
        nn.Sequential(
            nn.Linear(2, 4),
            nn.BatchNorm1d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, 2),
        )
    )
    x = waves(2, 4, 2, pace=0.7)
    torch.testing.assert_close(lrp_z(model, x), gradient_x_input(model, x))


def test_a_normalisation_without_weights_is_a_first_layer_too():
    model, x = (
        filled(
            nn.Sequential(
                nn.BatchNorm1d(2, affine=False), nn.Flatten(), nn.Linear(32, 2)
            )
        ),
        signals(),
    )
    signed = lrp(model, x, 0, rule=Epsilon(0.1), input_rule=Sign(Epsilon(0.1)))
    torch.testing.assert_close(signed, lrp(model, x, 0, rule=Epsilon(0.1)) / x.abs())


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            nn.LayerNorm(16),
            r"LRP stops at '1' \(LayerNorm\): no rule .*'integrated_gradients'",
        ),
        (nn.Softmax(dim=-1), r"'1' \(Softmax\)"),
        (nn.BatchNorm1d(2, track_running_stats=False), r"'1' \(BatchNorm1d\)"),
        (nn.GroupNorm(1, 2), "GroupNorm"),
    ],
)
def test_layers_without_a_rule_are_refused(layer, message):
    model = nn.Sequential(
        nn.Conv1d(2, 2, 1), layer, nn.Flatten(), nn.Linear(32, 2)
    ).double()
    with pytest.raises(ConfigError, match=message):
        lrp_z(model, signals())


def test_a_recurrent_layer_is_refused_by_name():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.dense = nn.LSTM(16, 3, batch_first=True), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.dense(self.lstm(x)[0][:, -1])

    with pytest.raises(ConfigError, match=r"LRP stops at 'lstm' \(LSTM\)"):
        lrp_z(Recurrent().double(), signals())


@pytest.mark.parametrize(
    ("between", "where"),
    [
        (lambda x: x / x.sum(-1, keepdim=True), "'truediv'"),
        (lambda x: 1 / (x * 0 + 2), "'truediv'"),
        (lambda x: x @ x.transpose(1, 2), "'matmul'"),
        (lambda x: x.pow(2), "'pow_1'"),
    ],
)
def test_functions_without_a_rule_are_refused(between, where):
    model = Written(between).double()
    model.between = lambda x: between(x).flatten(1)
    model(torch.ones(1, 6).double())
    with pytest.raises(ConfigError, match=f"LRP stops at {where}"):
        lrp_z(model, waves(3, 6, pace=0.9))


def test_a_graph_that_differs_from_its_model_is_refused():
    class Moody(nn.Module):
        relevance = "linear"
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x * self.calls

    model = nn.Sequential(nn.Flatten(), Moody(), nn.Linear(32, 2)).double()
    with pytest.raises(ConfigError, match="gives other logits than the model"):
        lrp_z(model, signals())


def test_relevance_ends_at_integers():
    """A mask made of the input is a gate, and no relevance goes to the comparison it
    came from."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(6, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            mask = (x[:, :1] != 0).to(x.dtype)
            return self.dense(x * mask + mask)

    model, x = filled(Masked()), torch.tensor([[1.0, 2, 3, 4, 5, 6]]).double()
    assert_allclose(lrp_z(model, x)[0], (model.dense.weight[0] * x[0]).detach())
