"""Grad-CAM against hand computations, in both layouts, and how the feature map is
found."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from explain_fakes import Sum, cnn, filled, port, port_inputs, signals, waves
from torch import fx, nn

from ecgnb.core.errors import ConfigError
from ecgnb.explain import grad_cam
from ecgnb.models import build_model


def test_by_hand_behind_an_average():
    """Mean over time and one dense layer: the gradient of channel c is w[c] / T
    everywhere."""
    model = nn.Sequential(
        nn.Conv1d(1, 2, 1, bias=False),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(2, 1),
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[[1.0]], [[-1.0]]]))
        model[3].weight.copy_(torch.tensor([[3.0, 1.0]]))
    x = torch.tensor([[[1.0, -2.0, 4.0, 0.5]]])
    # the map is 3/4 x - 1/4 x = x / 2, cut at 0; no stretching, as the map is as long
    # as the input
    torch.testing.assert_close(
        grad_cam(model, x, 0), torch.tensor([[0.5, 0.0, 2.0, 0.25]])
    )


def test_interpolation_centres_each_step_on_its_samples():
    class Spike(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Conv1d(1, 1, 4, stride=4, bias=False)

        def forward(self, x):
            return self.map(x).sum(-1)

    model = Spike()
    nn.init.constant_(model.map.weight, 0.25)
    x = torch.zeros(1, 1, 12)
    x[..., 4:8] = 1.0  # the map is 0, 1, 0 and its gradient 1
    found = grad_cam(model, x, layer="map")[0]
    assert found.tolist() == [
        0,
        0,
        0.125,
        0.375,
        0.625,
        0.875,
        0.875,
        0.625,
        0.375,
        0.125,
        0,
        0,
    ]


def reference(
    values: torch.Tensor, slope: torch.Tensor, time: int, length: int
) -> torch.Tensor:
    map_ = (slope.mean(time, keepdim=True) * values).sum(3 - time).clamp(min=0)
    return F.interpolate(map_[:, None], length, mode="linear")[:, 0]


def test_a_backbones_last_map_is_the_default():
    torch.manual_seed(1)
    model = build_model(
        "resnet1d", n_leads=2, n_samples=300, fs=100.0, n_classes=3
    ).eval()
    x = waves(2, 2, 300, pace=0.21).float()
    features = model.forward_features(x).detach().requires_grad_()
    slope = torch.autograd.grad(model.head(features)[:, 1].sum(), features)[0]
    expected = reference(features.detach(), slope, 2, 300)
    torch.testing.assert_close(grad_cam(model, x, 1), expected)
    torch.testing.assert_close(grad_cam(model, x, 1, layer="stages.3"), expected)


def test_the_last_map_before_the_poolings_is_the_default():
    found = grad_cam(
        cnn(), signals(), 1
    )  # the ReLU behind the second convolution, not the average pooling behind it
    torch.testing.assert_close(found, grad_cam(cnn(), signals(), 1, layer="4"))
    assert not torch.allclose(found, grad_cam(cnn(), signals(), 1, layer="5"))
    model, x = port(), port_inputs()
    torch.testing.assert_close(
        grad_cam(model, x, 0), grad_cam(model, x, 0, layer="multiply")
    )
    assert not torch.allclose(
        grad_cam(model, x, 0), grad_cam(model, x, 0, layer="dropout")
    )


def test_maps_in_keras_layout_give_the_same():
    model, x = port(), port_inputs()
    *_, turned = [
        node.name for node in model.graph.nodes if node.name.startswith("transpose")
    ]
    same = grad_cam(model, x, 0, layer="dropout")
    torch.testing.assert_close(
        grad_cam(model, x, 0, layer=turned), same
    )  # its node says "keras"
    assert same.shape == (4, 20)
    for node in model.graph.nodes:
        node.meta.clear()
    torch.testing.assert_close(
        grad_cam(model, x, 0, layer=turned, layout="keras"), same
    )
    assert not torch.allclose(grad_cam(model, x, 0, layer=turned), same)


def test_the_time_axis_is_that_of_the_graph():
    model, x = port(), port_inputs()
    assert grad_cam(model, x).shape == (4, 20)
    next(iter(model.graph.nodes)).meta["layout"] = (
        "nct"  # then the input would have 3 samples of 20 leads
    )
    assert grad_cam(model, x).shape == (4, 3)


def test_the_last_call_of_a_shared_layer_counts():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 1, bias=False)

        def forward(self, x):
            return self.conv(self.conv(x)).sum(-1)

    model = Twice()
    nn.init.constant_(model.conv.weight, 2.0)
    assert grad_cam(model, torch.ones(1, 1, 3), 0, layer="conv").tolist() == [[4, 4, 4]]


class Shared(nn.Module):
    """One activation behind both convolutions; what they add up to is the last map."""

    def __init__(self, add: nn.Module | None, end: bool):
        super().__init__()
        self.one, self.act, self.two = (
            nn.Conv1d(2, 3, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(3, 3, 3, padding=1),
        )
        self.add, self.end, self.dense = add, end, nn.Linear(3, 2)

    def forward(self, x):
        first = self.act(self.one(x))
        second = self.two(first) if self.end else self.act(self.two(first))
        if self.end:
            second = self.add(second, first) if self.add else second + first
        return self.dense(second.mean(-1))


@pytest.mark.parametrize(
    ("add", "end", "name"),
    [(None, False, "act"), (None, True, "add"), (Sum(), True, "add")],
)
def test_the_default_may_be_a_sum_or_the_second_call_of_a_layer(add, end, name):
    model = filled(Shared(add, end))
    graph = fx.GraphModule(model, _Leaves().trace(model))
    expected = grad_cam(graph, signals(), 1, layer=name)
    assert expected.abs().sum() > 0
    torch.testing.assert_close(grad_cam(graph, signals(), 1), expected)
    if add or not end:  # a module, which hooks can see
        torch.testing.assert_close(grad_cam(model, signals(), 1), expected)
        assert not torch.allclose(grad_cam(model, signals(), 1, layer="two"), expected)


class _Leaves(fx.Tracer):
    def is_leaf_module(self, m, module_qualified_name):
        return True


@pytest.mark.parametrize(
    ("layer", "message"),
    [("9", "no layer '9'"), ("7", r"made \[2, 2\]"), ("6", r"made \[2, 12\]")],
)
def test_layers_without_a_map_are_refused(layer, message):
    with pytest.raises(ConfigError, match=message):
        grad_cam(cnn(), signals(), layer=layer)


def test_what_cannot_be_explained_is_refused():
    with pytest.raises(
        ConfigError, match=r"no layer 'activatoin_1'. Did you mean 'activation_1'"
    ):
        grad_cam(port(), port_inputs(), layer="activatoin_1")
    with pytest.raises(ConfigError, match="no feature map"):
        grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(32, 2)).double(), signals())
    with pytest.raises(ConfigError, match="layout is 'ntc'"):
        grad_cam(cnn(), signals(), layout="ntc")

    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused, self.dense = nn.Conv1d(2, 2, 3), nn.Linear(16, 2)

        def forward(self, x):
            self.unused(x)
            return self.dense(x[:, 0])

    with pytest.raises(
        ConfigError, match="does not depend on the output of the layer 'unused'"
    ):
        grad_cam(Beside().double(), signals(), layer="unused")
