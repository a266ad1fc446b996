from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_fakes import CLASSES, FakeObjective, fit_fake, make_loaders, make_model

from ecgnb.core.errors import ConfigError
from ecgnb.models import build_model
from ecgnb.models.base import Backbone
from ecgnb.training.callbacks import Callback
from ecgnb.training.checkpoint import read_checkpoint
from ecgnb.training.config import TrainConfig
from ecgnb.training.freezing import freeze, parameter_groups, set_frozen_to_eval
from ecgnb.training.loop import fit
from ecgnb.training.optimizer import learning_rate, make_optimizer, set_learning_rate

CONFIG = TrainConfig(epochs=3, batch_size_cpu=8, lr=1e-2, device="cpu")
ECG_FM: dict[str, Any] = {
    "n_leads": 2,
    "n_samples": 96,
    "fs": 500.0,
    "n_classes": 3,
    "dim": 16,
    "depth": 2,
}
ECG_FM |= {
    "n_heads": 2,
    "ffn": 32,
    "conv_layers": [(8, 2, 2)] * 2,
    "position_kernel": 4,
    "position_groups": 2,
}


def trained(model: nn.Module) -> set[str]:
    return {
        name for name, parameter in model.named_parameters() if parameter.requires_grad
    }


class Modes(Callback):
    """Records which modules were in training mode during a step."""

    def on_step_end(self, training: Any) -> None:
        self.modes = {
            name: module.training for name, module in training.model.named_modules()
        }


@pytest.mark.parametrize(
    ("what", "moved"),
    [("stem", ("stages.", "head.")), ("body", ("head.",)), ("", ("",))],
)
def test_what_is_frozen_keeps_its_bits_and_its_statistics(
    tmp_path: Path, what: Any, moved: tuple[str, ...]
) -> None:
    before, modes = make_model("resnet1d").state_dict(), Modes()
    result = fit_fake(
        replace(CONFIG, freeze=what), tmp_path, norm="resnet1d", callbacks=(modes,)
    )
    after = read_checkpoint(result.last_path)["model"]
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith(moved)}, (
        "weights, running statistics and counters"
    )
    assert "stem.0.norm.running_mean" in before and (
        "stem.0.norm.running_mean" in changed
    ) == (not what)
    training = {name for name, mode in modes.modes.items() if mode}
    assert "head.neck.0" in training, "the head's dropout"
    still = ("stem",) if what == "stem" else ("stem", "stages")
    assert not what or not {name for name in training if name.startswith(still)}


def test_a_linear_probe_is_logistic_regression_on_fixed_features(
    tmp_path: Path,
) -> None:
    """The head that comes out is the one of a training of the head alone, on features
    computed once."""
    config = replace(CONFIG, freeze="body", epochs=2, clip_norm=0.0)
    result = fit_fake(
        config, tmp_path, norm="resnet1d", dropout=0.0, objective=FakeObjective(noise=0)
    )
    model: Any = make_model("resnet1d", dropout=0.0).eval()
    train, _ = make_loaders(config)
    optimizer = make_optimizer(model.head, config)
    for epoch in range(2):
        for number, batch in enumerate(train.epoch(epoch)):
            with torch.no_grad():
                features = model.forward_features(batch.signal)
            set_learning_rate(optimizer, learning_rate(5 * epoch + number, 10, config))
            nn.functional.cross_entropy(model.head(features), batch.target).backward()
            optimizer.step()
            optimizer.zero_grad()
    found = read_checkpoint(result.last_path)["model"]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found[name], value, atol=1e-7, rtol=1e-5)


def test_the_first_step_of_each_group_is_its_rate(tmp_path: Path) -> None:
    """Adam's first step is lr * g / (|g| + eps), of length lr wherever the gradient is well above eps = 1e-8."""
    config = replace(
        CONFIG,
        epochs=1,
        batch_size_cpu=64,
        scheduler="none",
        warmup_fraction=0.0,
        weight_decay=0.0,
    )
    config = replace(config, clip_norm=0.0, layer_decay=0.5, freeze="stem")
    model: Any = make_model("resnet1d", dropout=0.0)
    for stage in model.stages:
        nn.init.ones_(
            stage[0].branch[1].norm.weight
        )  # a branch that starts as 0 has no gradients within
    start = copy.deepcopy(model)
    train, valid = make_loaders(config)
    result = fit(
        model, FakeObjective(noise=0), train, valid, config, tmp_path, classes=CLASSES
    )
    after = read_checkpoint(result.last_path)["model"]
    start.stem.eval()
    batch = next(train.epoch(0))
    nn.functional.cross_entropy(start(batch.signal), batch.target).backward()
    own = dict(start.named_parameters())
    for group, scale in zip(model.layer_groups(), (0.0, 0.25, 0.5, 1.0), strict=True):
        steps = torch.cat(
            [(after[name] - own[name].detach()).flatten() for name in group]
        )
        gradients = torch.cat([own[name].grad.flatten() for name in group])
        wanted = -1e-2 * scale * gradients / (gradients.abs() + 1e-8)
        torch.testing.assert_close(steps, wanted, rtol=1e-3, atol=1e-7)
        assert steps.abs().median().item() == pytest.approx(1e-2 * scale, rel=1e-3)


def test_ecg_fm_keeps_its_stem() -> None:
    model: Any = build_model("ecg_fm", **ECG_FM, dropout=0.5)
    freeze(model, "stem")
    model.train()
    set_frozen_to_eval(model, "stem")
    assert trained(model) == {
        name for group in model.layer_groups()[1:] for name in group
    }
    assert not model.stem.training and model.layers[0].training
    freeze(model, "body")
    set_frozen_to_eval(model, "body")
    assert trained(model) == {"head.classifier.weight", "head.classifier.bias"}
    x = torch.randn(3, 2, 96)
    assert torch.equal(model(x), model(x)), (
        "no dropout is left, nor the one before the first layer"
    )
    model(x).sum().backward()
    assert {
        name for name, p in model.named_parameters() if p.grad is not None
    } == trained(model)


def test_nothing_frozen_touches_nothing() -> None:
    model = make_model("batch")
    model[0].weight.requires_grad_(False)
    freeze(model, "")
    set_frozen_to_eval(model.train(), "")
    assert len(trained(model)) == 6 and all(
        module.training for module in model.modules()
    )


class TwoParts(Backbone):
    """Has no stem apart from its body, like ports."""

    def __init__(self, **words: Any) -> None:
        super().__init__(n_leads=2, n_samples=48, fs=100.0, n_classes=3)
        self.body, self.head = nn.Conv1d(2, 4, 3), nn.Linear(4, 3)

    def forward_intermediates(
        self, x: Tensor, indices: Any = None
    ) -> tuple[Tensor, list[Tensor]]:
        return self.body(x).mean(-1), []


def test_what_cannot_be_frozen_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"freeze='body' needs a model .* and Sequential has none"
    ):
        freeze(make_model(), "body")
    with pytest.raises(
        ConfigError,
        match=r"TwoParts has no stem apart from its body\. Use freeze='body'",
    ):
        freeze(TwoParts(), "stem")
    with pytest.raises(
        ConfigError, match="freeze='body' leaves nothing of EcgFM to train"
    ):
        freeze(build_model("ecg_fm", **(ECG_FM | {"n_classes": 0})), "body")
    model = TwoParts()
    freeze(model, "body")
    assert trained(model) == {"head.weight", "head.bias"}


def test_groups_that_forget_a_parameter_are_refused() -> None:
    class Forgets(TwoParts):
        def layer_groups(self) -> list[list[str]]:
            return [["body.weight"], [], ["head.weight", "head.bias"]]

    class Repeats(TwoParts):
        def layer_groups(self) -> list[list[str]]:
            return [
                ["body.weight", "body.bias"],
                ["body.bias"],
                ["head.weight", "head.bias"],
            ]

    with pytest.raises(
        ConfigError,
        match=r"Forgets\.layer_groups\(\) must name each parameter once; .* body\.bias",
    ):
        parameter_groups(Forgets(), "freeze='stem'")
    with pytest.raises(ConfigError, match="differs in names that come twice"):
        parameter_groups(Repeats(), "freeze='stem'")
