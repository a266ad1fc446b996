"""Every model of the registry keeps the same promises, and none can be registered
without its golden numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from typing_extensions import Unpack

import ecgnb
from ecgnb.core.errors import ConfigError
from ecgnb.data.config import PrepareConfig
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import load_bundle, save_bundle
from ecgnb.models import (
    MODELS,
    Backbone,
    Words,
    build_model,
    model_summary,
    options_of,
)
from ecgnb.models.base import FeatureInfo
from ecgnb.models.ecg_fm import EcgFM
from ecgnb.models.layers import ConvNorm, PoolHead
from ecgnb.transforms.pipeline import build_pipeline

#: Trainable parameters with 12 leads, 5000 samples at 500 Hz and 71 classes.
PARAMETERS = {
    "resnet1d": 1_535_047,
    "xresnet1d18": 373_447,
    "xresnet1d34": 703_175,
    "xresnet1d50": 962_503,
    "xresnet1d101": 1_880_775,
    "xresnet1d152": 2_799_047,
    "ecg_fm": 90_427_847,
    "outside": 64 * (12 * 5 + 3 * 64 * 3) + 4 * 128 + 64 * 71 + 71,
}
#: Options for all other tests of a model that is too large for them.
OPTIONS = {
    "ecg_fm": {
        "dim": 48,
        "depth": 3,
        "n_heads": 4,
        "ffn": 96,
        "conv_layers": ((24, 2, 2),) * 4,
    }
}
#: A ported Keras model has the size of its file; tests/port/test_backbone.py has the
#: same tests of it.
NAMES = [name for name in MODELS if name != "keras"] + ["outside"]
#: Other depths of these run the same code with more blocks.
SHALLOW = ["resnet1d", "xresnet1d18", "xresnet1d50", "ecg_fm", "outside"]
BIG = {"n_leads": 12, "n_samples": 5000, "fs": 500.0, "n_classes": 71}
SMALL = {"n_leads": 2, "n_samples": 300, "fs": 100.0, "n_classes": 3}
SIZES = [
    (1, 250, 100.0),
    (2, 1000, 250.0),
    (12, 5000, 500.0),
    (12, 1000, 100.0),
    (1, 300, 300.0),
    (3, 37, 100.0),
]


class Outside(Backbone):
    """A model from outside the package: four convolutions."""

    def __init__(self, *, width: int = 64, **words: Unpack[Words]) -> None:
        super().__init__(**words)
        self.stem = ConvNorm(self.n_leads, width, 5, stride=2)
        self.stages = nn.ModuleList(ConvNorm(width, width, 3) for _ in range(3))
        self.head = PoolHead(width, self.n_classes)
        self.feature_info = [
            FeatureInfo(name=f"stages.{index}", channels=width, reduction=2)
            for index in range(3)
        ]

    def forward_intermediates(self, x, indices=None):
        maps = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return x, [maps[index] for index in self._resolve_indices(indices)]

    def layer_groups(self):
        prefixes = ["stem.", "stages.0.", "stages.1.", "stages.2.", "head."]
        names = [name for name, _ in self.named_parameters()]
        return [[n for n in names if n.startswith(prefix)] for prefix in prefixes]


@pytest.fixture(autouse=True, scope="module")
def outside() -> Iterator[None]:
    """Register the model for these tests alone."""
    MODELS.register("outside")(Outside)
    yield
    MODELS._entries.pop("outside")


def build(name: str, seed: int = 0, **words) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(name, **{**SMALL, **OPTIONS.get(name, {}), **words})


def signals(model, batch: int = 2) -> torch.Tensor:
    return torch.randn(
        batch,
        model.n_leads,
        model.n_samples,
        generator=torch.Generator().manual_seed(1),
    )


def n_steps(model, info) -> int:
    """Convolutions without padding round down, the others up."""
    steps = model.n_samples / info["reduction"]
    return math.floor(steps) if isinstance(model, EcgFM) else math.ceil(steps)


def test_every_model_has_golden_numbers():
    assert set(NAMES) == set(PARAMETERS), (
        "add the new model and its number of parameters to PARAMETERS"
    )


@pytest.mark.parametrize("name", NAMES)
def test_number_of_parameters(name):
    with torch.device("meta"):
        assert build_model(name, **BIG).n_parameters() == PARAMETERS[name]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OPTIONS])
def test_summary_counts_all_parameters(name):
    model = build_model(name, **BIG)
    assert model_summary(model).parameters.iloc[-1] == PARAMETERS[name]


@pytest.mark.parametrize("name", SHALLOW)
@pytest.mark.parametrize(("n_leads", "n_samples", "fs"), SIZES)
def test_sizes(name, n_leads, n_samples, fs):
    model = build(name, n_leads=n_leads, n_samples=n_samples, fs=fs, n_classes=4).eval()
    x = signals(model)
    with torch.no_grad():
        logits = model(x)
        assert (
            logits.shape == (2, 4)
            and logits.dtype == torch.float32
            and torch.isfinite(logits).all()
        )
        torch.testing.assert_close(model(x[:1]), logits[:1], atol=1e-5, rtol=1e-4)
        final, maps = model.forward_intermediates(x)
        assert torch.equal(final, model.forward_features(x))
        torch.testing.assert_close(model.head(final), logits)
    assert len(maps) == len(model.feature_info)
    for feature, info in zip(maps, model.feature_info, strict=True):
        assert feature.shape == (2, info["channels"], n_steps(model, info))
        assert dict(model.named_modules())[info["name"]] is not None
    assert (final.transpose(1, 2) if model.channels_last else final).shape == maps[
        -1
    ].shape


@pytest.mark.parametrize("name", NAMES)
def test_indices_choose_feature_maps(name):
    model = build(name).eval()
    x = signals(model)
    with torch.no_grad():
        final, maps = model.forward_intermediates(x)
        assert model.forward_intermediates(x, [])[1] == []
        for indices, expected in [
            ([0, 2], [0, 2]),
            (2, [-2, -1]),
            ([-1], [-1]),
            (0, []),
        ]:
            chosen = model.forward_intermediates(x, indices)[1]
            assert [
                torch.equal(c, maps[e]) for c, e in zip(chosen, expected, strict=True)
            ] == [True] * len(expected)
        channels = 2 if model.channels_last else 1
        assert (
            model.forward_features(torch.randn(2, model.n_leads, 480)).shape[channels]
            == final.shape[channels]
        )
    for indices in (99, [99], [-99]):
        with pytest.raises(ConfigError, match="feature maps; indices"):
            model.forward_intermediates(x, indices)


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_is_deterministic_and_seeded(name):
    model = build(name).eval()
    x = signals(model)
    with torch.no_grad():
        first = model(x)
        assert torch.equal(first, model(x))
        assert torch.equal(first, build(name).eval()(x))
        assert not torch.equal(first, build(name, seed=1).eval()(x))


@pytest.mark.parametrize("name", SHALLOW)
def test_backward_reaches_every_parameter(name):
    model = build(name, n_samples=1000)
    for module in (
        model.modules()
    ):  # a residual branch behind a zero gamma gets no gradient at the first step
        if isinstance(module, nn.BatchNorm1d | nn.GroupNorm):
            nn.init.ones_(module.weight)
    model(signals(model, 4)).square().sum().backward()
    without = [
        key
        for key, p in model.named_parameters()
        if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert without == []


@pytest.mark.parametrize("name", SHALLOW)
def test_a_batch_of_one_trains(name):
    for n_samples in (300, 20):
        model = build(name, n_samples=n_samples).train()
        loss = model(signals(model, 1)).square().sum()
        loss.backward()
        assert torch.isfinite(loss)


@pytest.mark.parametrize("name", SHALLOW)
def test_learns_a_handful_by_heart(name):
    model = build(name, n_samples=200, n_classes=2)
    x, y = signals(model, 8), torch.arange(8) % 2
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    first = None
    for _ in range(15):
        loss = nn.functional.cross_entropy(model(x), y)
        first = loss.item() if first is None else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.6 * first


@pytest.mark.parametrize("name", NAMES)
def test_state_and_spec_rebuild_the_model(name, tmp_path):
    model = build(name, leads=("I", "V2"), task="multilabel")
    model(signals(model, 4))  # moves the running statistics
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    spec = json.loads(json.dumps(model.spec()))
    assert (
        spec["leads"] == ["I", "V2"]
        and spec["task"] == "multilabel"
        and spec["name"] == name
    )
    again = build_model(**spec)
    assert again.spec() == spec
    again.load_state_dict(
        torch.load(tmp_path / "weights.pt", weights_only=True), strict=True
    )
    x = signals(model)
    with torch.no_grad():
        assert torch.equal(model.eval()(x), again.eval()(x))


@pytest.mark.parametrize("name", NAMES)
def test_spec_holds_every_option_and_shares_none(name):
    model = build(name)
    assert set(model.spec()) == {
        "name",
        "n_leads",
        "n_samples",
        "fs",
        "n_classes",
        "leads",
        "task",
        *options_of(type(model)),
    }
    defaults = {**options_of(type(model)), **OPTIONS.get(name, {})}
    options = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in defaults.items()
    }
    before = json.dumps(options)
    one, two = build(name, **options), build(name, **options)
    assert json.dumps(options) == before, (
        "options must not be changed by the model that they build"
    )
    assert [p.shape for p in one.parameters()] == [p.shape for p in two.parameters()]
    assert one.n_parameters() == model.n_parameters()


@pytest.mark.parametrize("name", SHALLOW)
def test_reset_classifier(name):
    model = build(name).double()
    body = {
        key: value.clone()
        for key, value in model.state_dict().items()
        if "classifier" not in key
    }
    model.reset_classifier(7)
    assert model.eval()(signals(model).double()).shape == (2, 7)
    assert model.n_classes == 7 and model.spec()["n_classes"] == 7
    assert all(
        torch.equal(value, model.state_dict()[key]) for key, value in body.items()
    )
    assert (
        build_model(**model.spec()).head.classifier.weight.shape
        == model.head.classifier.weight.shape
    )
    embedding = model.head.embed(model.forward_features(signals(model).double()))
    torch.testing.assert_close(
        model.head.classifier(embedding), model(signals(model).double())
    )
    with pytest.raises(ConfigError, match="n_classes of a classifier must be above 0"):
        model.reset_classifier(0)


@pytest.mark.parametrize("name", SHALLOW)
def test_export(name):
    model = build(name).eval()
    x = signals(model, 3)
    batch = torch.export.Dim("batch", min=1, max=1024)
    exported = torch.export.export(
        model, (x,), dynamic_shapes={"x": {0: batch}}
    ).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(x), model(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(exported(x[:1]), model(x[:1]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_say_what_was_expected(name):
    model = build(name)
    for shape in [
        (2, 3, 300),
        (2, 300),
        (2, 300, 2),
        *([] if model.any_length else [(2, 2, 299)]),
    ]:
        with pytest.raises(
            ConfigError,
            match=r"expected a signal \[B, n_leads, n_samples\] = \[B, 2, 300\]",
        ):
            model(torch.zeros(shape))


@pytest.mark.parametrize("name", NAMES)
def test_summary_adds_up(name):
    model = build(name).train()
    table = model_summary(model)
    assert list(table.columns) == ["part", "kind", "output", "parameters", "flops"]
    assert model.training and not any(
        module._forward_hooks for module in model.modules()
    )
    assert table.parameters[:-1].sum() == table.parameters.iloc[-1]
    assert table.flops[:-1].sum() == table.flops.iloc[-1] > 0
    last = model.feature_info[-1]
    row = table.set_index("part").loc[last["name"]]
    axes = [str(last["channels"]), str(n_steps(model, last))]
    assert row.output == " x ".join(reversed(axes) if model.channels_last else axes)


@pytest.mark.parametrize("name", NAMES)
def test_layer_groups_hold_every_parameter_once(name):
    model = build(name)
    groups = model.layer_groups()
    assert sorted(name for group in groups for name in group) == sorted(
        name for name, _ in model.named_parameters()
    )
    assert len(groups) >= len(model.feature_info) + 2 and all(groups)
    assert all(name.startswith("head.") for name in groups[-1])
    assert all(each.startswith("stem.") for each in groups[0])


def test_a_model_from_outside_is_saved_and_predicts_by_its_name(tmp_path):
    model = build("outside", n_leads=12, width=4).eval()
    prepare = PrepareConfig(target_fs=100, target_samples=300, leads=STANDARD_12)
    classes = ("NORM", "AF", "MI")
    bundle = Bundle(model, classes, "multiclass", prepare, build_pipeline([]))
    save_bundle(bundle, tmp_path)
    assert type(load_bundle(tmp_path).model) is Outside
    signal = signals(model, 1)[0].numpy()
    recording = Recording(signal=signal, fs=100.0, leads=STANDARD_12, record_id="a")
    row = ecgnb.predict(recording, run=tmp_path).iloc[0]
    with torch.no_grad():
        expected = model(torch.from_numpy(signal)[None]).softmax(-1)[0]
    assert row["prediction"] == classes[expected.argmax()]
    assert [row[name] for name in classes] == pytest.approx(expected.tolist(), abs=1e-6)
