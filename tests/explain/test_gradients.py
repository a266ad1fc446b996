"""Gradients against autograd and formulas by hand."""

from __future__ import annotations

import pytest
import torch
from explain_fakes import cnn, signals
from torch import nn

from ecgnb.core.errors import ConfigError
from ecgnb.explain import (
    attention_saliency,
    gradient,
    gradient_x_input,
    gradient_x_sign,
    guided_backprop,
)
from ecgnb.explain.gradients import sign
from ecgnb.models import build_model


def by_autograd(model: nn.Module, x: torch.Tensor, target: list[int]) -> torch.Tensor:
    x = x.clone().requires_grad_()
    rows = [model(x[k : k + 1])[0, c] for k, c in enumerate(target)]
    return torch.autograd.grad(sum(rows), x)[0]


def test_gradient_is_autograds():
    expected = by_autograd(cnn(), signals(), [1, 0])
    target = torch.tensor([1, 0])
    torch.testing.assert_close(gradient(cnn(), signals(), target), expected)
    torch.testing.assert_close(
        gradient_x_input(cnn(), signals(), target), expected * signals()
    )


def test_gradient_of_a_dense_layer_is_its_weights():
    model = nn.Linear(3, 2)
    found = gradient(model, torch.ones(4, 3), 1)
    assert torch.equal(found, model.weight[1].detach().expand(4, 3))


def test_sign_counts_zero_as_positive():
    assert sign(torch.tensor([-2.0, -0.0, 0.0, 0.3])).tolist() == [-1, 1, 1, 1]
    assert sign(torch.tensor([0.2, 0.5, 0.7]), mu=0.5).tolist() == [-1, 1, 1]
    model = nn.Linear(3, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    x = torch.tensor([[0.0, -0.1, 0.1]])
    assert gradient_x_sign(model, x).tolist() == [[2, -2, 2]]
    assert gradient_x_sign(model, x, mu=0.1).tolist() == [[-2, -2, 2]]
    assert gradient_x_sign(model, x, mu=-0.1).tolist() == [[2, 2, 2]]


def test_an_input_that_is_not_used_gets_zeros():
    class First(nn.Module):
        def forward(self, x, y):
            return x.sum(-1)

    found = gradient(First(), (torch.ones(2, 1, 5), torch.ones(2, 4)))
    assert (
        found[0].sum() == 10 and found[1].shape == (2, 4) and found[1].abs().sum() == 0
    )


def test_guided_backprop_by_hand():
    model = nn.Sequential(
        nn.Linear(2, 3, bias=False), nn.ReLU(inplace=True), nn.Linear(3, 1, bias=False)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0], [-5.0, 1.0]]))
        model[2].weight.copy_(torch.tensor([[2.0, -1.0, 4.0]]))
    x = torch.tensor(
        [[1.0, 1.0]]
    )  # hidden 3, 2, -4: the third is off; the second has a negative slope
    assert gradient(model, x, 0).tolist() == [[2 * 1 - 3, 2 * 2 + 1]]
    assert guided_backprop(model, x, 0).tolist() == [[2, 4]]
    assert model[1].inplace


def test_guided_backprop_needs_activation_modules():
    with pytest.raises(ConfigError, match="no activation modules"):
        guided_backprop(nn.Linear(2, 2), torch.ones(1, 2))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x: (x, x), r"returns tuple; .* wrapper that returns model\(x\)\[0\]"),
        (lambda x: {"logits": x}, "returns dict"),
        (lambda x: x[:, None], r"shape \[4, 1, 3\] for 4 records"),
        (lambda x: x[:, 0], r"shape \[4\] for 4 records"),
    ],
)
def test_what_is_no_logits_is_refused(returned, message):
    class Odd(nn.Module):
        def forward(self, x):
            return returned(x)

    with pytest.raises(ConfigError, match=message):
        gradient(Odd(), torch.ones(4, 3))


def test_what_is_no_model_is_refused():
    with pytest.raises(ConfigError, match="function"):
        gradient(lambda x: x, torch.ones(4, 3))


def test_one_class_only():
    assert gradient(nn.Linear(3, 1), torch.ones(2, 3)).shape == (2, 3)


def test_a_recurrent_model_has_gradients():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.cudnn = nn.LSTM(2, 3, batch_first=True), set()

        def forward(self, x):
            self.cudnn.add(torch.backends.cudnn.enabled)
            return self.lstm(x)[0][:, -1]

    model, before = Recurrent(), torch.backends.cudnn.enabled
    assert gradient(model, torch.ones(1, 5, 2)).abs().sum() > 0
    assert model.cudnn == {False}, (
        "cuDNN has no backward pass of recurrent layers in evaluation mode"
    )
    assert torch.backends.cudnn.enabled == before


WORDS = {"n_leads": 2, "n_samples": 800, "fs": 500.0, "n_classes": 3}


def small_transformer():
    torch.manual_seed(0)
    return build_model("ecg_fm", **WORDS, dim=48, depth=2, n_heads=4, ffn=96).eval()


def test_attention_saliency_is_the_largest_weight_over_keys_scaled_and_stretched():
    model, x = small_transformer(), torch.randn(3, 2, 800)
    found = attention_saliency(model, x)
    assert found.shape == (3, 800)
    assert found.min() >= 0 and found.amax(1).tolist() == pytest.approx(
        [1.0] * 3, abs=0.05
    )
    weights = model.attention(x)[1, -1].amax(1)
    assert found[1].argmax() // 16 == weights.argmax()
    steps = (weights - weights.min()) / (weights.max() - weights.min())
    middle = (
        found[1, 7::16] + found[1, 8::16]
    ) / 2  # a token stands in the middle of its 16 samples
    near = 0.96875 * steps[1:-1] + 0.015625 * (
        steps[:-2] + steps[2:]
    )  # half a sample from it on either side
    torch.testing.assert_close(middle[1:-1], near, atol=1e-5, rtol=0)


def test_attention_of_other_layers_and_models():
    model, x = small_transformer(), torch.randn(1, 2, 800)
    assert not torch.equal(
        attention_saliency(model, x, layer=0), attention_saliency(model, x)
    )
    with pytest.raises(ConfigError, match="layer=2: the model has the layers 0 to 1"):
        attention_saliency(model, x, layer=2)
    with pytest.raises(ConfigError, match="ResNet1d has no attention"):
        attention_saliency(build_model("resnet1d", **WORDS), x)
