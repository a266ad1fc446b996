"""Conformance of every registered method on every kind of model."""

from __future__ import annotations

import pytest
import torch
from explain_fakes import OPTIONS, cnn, port, port_inputs, signals, waves
from torch import nn

from ecgnb.core.errors import ConfigError
from ecgnb.explain import EXPLAINERS, explain
from ecgnb.models import MODELS, build_model

#: Deeper networks of the same blocks as xresnet1d18 and xresnet1d50.
DEEPER = ("xresnet1d34", "xresnet1d101", "xresnet1d152")
CASES = [
    (name, method)
    for name in sorted(set(MODELS) - {"keras"})
    for method in sorted(OPTIONS)
    if name not in DEEPER or method == "lrp_epsilon_std"
]
every_method = pytest.mark.parametrize("method", sorted(OPTIONS))


def as_tuple(found):
    return found if isinstance(found, tuple) else (found,)


def test_every_registered_method_is_tested():
    assert set(EXPLAINERS) == set(OPTIONS), (
        "a method without a row in OPTIONS, or a row without a method"
    )


@pytest.mark.parametrize(("name", "method"), CASES)
def test_every_method_explains_every_model(name, method):
    torch.manual_seed(0)
    small = {"dim": 48, "depth": 2, "n_heads": 4, "ffn": 96} if name == "ecg_fm" else {}
    model = build_model(name, n_leads=2, n_samples=300, fs=100.0, n_classes=3, **small)
    for module in model.modules():
        if isinstance(
            module, nn.BatchNorm1d
        ):  # their last factor is 0 in a fresh block, which then does nothing
            nn.init.uniform_(module.weight, 0.5, 0.9)
    x = waves(2, 2, 300, pace=0.21).float()
    if name == "ecg_fm" and method.startswith("lrp"):
        with pytest.raises(ConfigError, match="cannot"):
            explain(model, x, method, target=torch.tensor([2, 0]), **OPTIONS[method])
        return
    found = explain(model, x, method, target=torch.tensor([2, 0]), **OPTIONS[method])
    assert found.shape == ((2, 300) if method == "grad_cam" else x.shape)
    assert (
        found.dtype == torch.float32
        and torch.isfinite(found).all()
        and not found.requires_grad
    )
    assert found.abs().amax() > 0


@every_method
@pytest.mark.parametrize("two_inputs", [False, True])
def test_every_method_explains_a_port(method, two_inputs):
    inputs = port_inputs(two_inputs)
    found = explain(port(two_inputs), inputs, method, **OPTIONS[method])
    if method == "grad_cam":
        assert found.shape == (4, 20)
    else:
        assert isinstance(found, tuple) == two_inputs
        assert [part.shape for part in as_tuple(found)] == [
            x.shape for x in as_tuple(inputs)
        ]
    assert all(
        torch.isfinite(part).all() and part.abs().amax() > 0 for part in as_tuple(found)
    )
    assert as_tuple(found)[0].dtype == torch.float64


@every_method
def test_a_record_alone_gives_what_it_gives_in_a_batch(method):
    model, inputs = port(True), port_inputs(True)
    together = as_tuple(explain(model, inputs, method, **OPTIONS[method]))
    for k in range(4):
        alone = as_tuple(
            explain(
                model, tuple(x[k : k + 1] for x in inputs), method, **OPTIONS[method]
            )
        )
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], other[k], rtol=1e-9, atol=1e-12)


@every_method
def test_no_target_means_the_predicted_class(method):
    model, x = cnn(), signals()
    predicted = model(x).argmax(1)
    found = explain(model, x, method, **OPTIONS[method])
    torch.testing.assert_close(
        found,
        explain(model, x, method, target=predicted, **OPTIONS[method]),
        rtol=0,
        atol=0,
    )
    assert not torch.equal(
        found, explain(model, x, method, target=1 - predicted, **OPTIONS[method])
    )


@every_method
def test_the_model_is_left_as_it_was(method):
    model, x = cnn(), signals().requires_grad_()
    model.train()
    model[1].eval()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    explain(model, x, method, **OPTIONS[method])
    assert [module.training for module in model.modules()] == modes
    assert (
        (model[0].weight.grad == 1).all()
        and model[3].weight.grad is None
        and x.grad is None
    )
    assert all(
        torch.equal(value, before[name]) for name, value in model.state_dict().items()
    )
    assert no_hooks(model)


@every_method
def test_nothing_stays_behind_an_error(method):
    class Broken(nn.Module):
        relevance = "linear"
        armed = False

        def forward(self, x):
            if self.armed:
                raise RuntimeError("broken")
            self.armed = True  # the first run, which only looks at the logits, passes
            return x

    model = (
        nn.Sequential(
            nn.Conv1d(2, 2, 3), nn.ReLU(), Broken(), nn.Flatten(), nn.Linear(28, 2)
        )
        .double()
        .train()
    )
    with pytest.raises(RuntimeError, match="broken"):
        EXPLAINERS.get(method)(model, signals(), 0, **OPTIONS[method])
    assert all(module.training for module in model.modules()) and no_hooks(model)


@every_method
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_disabled_outside(method, context):
    model = cnn().requires_grad_(False)
    outside = explain(model, signals(), method, **OPTIONS[method])
    with context():
        inside = explain(model, signals(), method, **OPTIONS[method])
        assert not torch.is_grad_enabled()
    assert torch.equal(inside, outside)


@every_method
def test_wrong_targets_and_inputs_are_refused(method):
    for target in (2, -1, torch.tensor([0, 1, 0]), torch.tensor([0.0, 1.0]), 0.5):
        with pytest.raises(ConfigError, match="target is"):
            explain(cnn(), signals(), method, target=target)
    gappy = signals()
    gappy[0, 1, 3] = float("nan")
    for inputs, message in (
        (gappy, "NaN"),
        (signals().numpy(), "ndarray"),
        (signals().long(), "floating point"),
        (signals()[:0], "floating point"),
        ((signals(), signals()[:1]), "has 1 records"),
    ):
        with pytest.raises(ConfigError, match=message):
            explain(cnn(), inputs, method)


def no_hooks(model: nn.Module) -> bool:
    kinds = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_backward_pre_hooks",
    )
    return not any(
        getattr(module, kind) for module in model.modules() for kind in kinds
    )
