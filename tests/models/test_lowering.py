"""Every model in lower precision: what it takes and gives, what stays exact, how much
changes, what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ecgnb.core.errors import ConfigError
from ecgnb.explain import explain
from ecgnb.foundation.ecg_fm_checkpoint import load_ecg_fm
from ecgnb.models import MODELS, build_model
from ecgnb.models.ecg_fm import PaddingWarning
from ecgnb.models.int8 import Int8Linear
from ecgnb.models.lowering import PRECISIONS, n_bytes, precision_of, to_precision

WORDS = {"n_leads": 2, "n_samples": 300, "fs": 100.0, "n_classes": 3}
TRANSFORMER = {
    "dim": 64,
    "depth": 2,
    "n_heads": 4,
    "ffn": 128,
    "conv_layers": ((64, 2, 2),) * 3,
}
#: A ported Keras model has its own test; the deeper xresnets are more of the same
#: blocks.
NAMES = [
    name
    for name in MODELS
    if name not in ("keras", "xresnet1d34", "xresnet1d101", "xresnet1d152")
]
#: By how much a number of each type is off at most, when it is rounded to the nearest.
UNIT = {"bfloat16": 2**-9, "float16": 2**-12, "int8": 1 / 254}
CASES = [
    (name, precision)
    for name in NAMES
    for precision in PRECISIONS[1:]
    if precision != "int8" or name == "ecg_fm"
]


def build(name: str) -> nn.Module:
    """A model as training leaves it: statistics have moved and residual branches are
    open."""
    torch.manual_seed(0)
    model = build_model(name, **WORDS, **(TRANSFORMER if name == "ecg_fm" else {}))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.GroupNorm | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.1)
    with torch.no_grad():
        for _ in range(10):
            model(torch.randn(8, 2, 300))
    return model.eval()


def signals(n: int = 4) -> torch.Tensor:
    return torch.randn(n, 2, 300, generator=torch.Generator().manual_seed(1))


def lowered(model: nn.Module, precision: str) -> nn.Module:
    return to_precision(copy.deepcopy(model), precision)


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_callers_see_float32_and_less_change_than_all_in_that_type(
    name: str, precision: str
) -> None:
    model, x = build(name), signals(16)
    low = lowered(model, precision)
    with torch.inference_mode():
        wanted, found = model(x), low(x)
        features = low.forward_features(x)
        made = [
            found,
            features,
            low.head.embed(features),
            *low.forward_intermediates(x)[1],
        ]
        assert torch.equal(low.head(features), found)
        assert {each.dtype for each in made} == {torch.float32}
        half = torch.float16 if precision == "int8" else getattr(torch, precision)
        everything = copy.deepcopy(model).to(half)(x.to(half)).float()
    assert (
        0
        < (found - wanted).square().mean()
        < 0.5 * (everything - wanted).square().mean()
    )
    assert low.spec() == model.spec() and not low.training
    assert precision_of(model) == "float32" and precision_of(low) == precision


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_stem_norms_and_head_keep_every_digit_and_the_rest_is_rounded_once(
    name: str, precision: str
) -> None:
    model = build(name)
    low = lowered(model, precision)
    before, after = model.state_dict(), low.state_dict()
    changed = [
        key
        for key in after
        if key not in before or not torch.equal(after[key], before[key])
    ]
    norms = [
        n
        for n, m in model.named_modules()
        if isinstance(m, nn.BatchNorm1d | nn.GroupNorm | nn.LayerNorm)
    ]
    assert changed and not [
        key for key in changed if key.startswith(("stem.", "head.", "position."))
    ]
    assert not [key for key in changed if key.rpartition(".")[0] in norms]
    if precision == "int8":
        assert {key.rpartition(".")[2] for key in changed} == {"weight", "scale"}
        rounded = {
            name: m.dequantised()
            for name, m in low.named_modules()
            if isinstance(m, Int8Linear)
        }
        assert (
            list(rounded)
            == [name for name, m in model.named_modules() if name in rounded]
            and len(rounded) == 12
        )
        for layer, weight in rounded.items():
            steps = (weight - before[f"{layer}.weight"]).abs() / after[
                f"{layer}.scale"
            ][:, None]
            assert 0.4 < steps.max() <= 0.5001
    else:
        assert {after[key].dtype for key in changed} == {getattr(torch, precision)}
        assert all(
            torch.equal(after[key], before[key].to(after[key].dtype)) for key in changed
        )
    assert (
        n_bytes(model) == sum(value.nbytes for value in before.values()) > n_bytes(low)
    )


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_it_is_built_again_without_its_weights(name: str, precision: str) -> None:
    low, x = lowered(build(name), precision), signals()
    torch.manual_seed(9)
    again = to_precision(build_model(**json.loads(json.dumps(low.spec()))), precision)
    state, own = low.state_dict(), again.state_dict()
    assert {k: (v.dtype, v.shape) for k, v in own.items()} == {
        k: (v.dtype, v.shape) for k, v in state.items()
    }
    again.load_state_dict(state, strict=True)
    with torch.inference_mode():
        assert torch.equal(again(x), low(x)) and torch.equal(
            copy.deepcopy(low)(x), low(x)
        )


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_a_transformer_keeps_its_other_methods(precision: str) -> None:
    model, x = build("ecg_fm"), signals()
    low = lowered(model, precision)
    mask = torch.zeros(4, 300, dtype=torch.bool)
    mask[1, 200:] = True
    with torch.inference_mode():
        torch.testing.assert_close(
            low.embed(x), model.embed(x), atol=30 * UNIT[precision], rtol=0
        )
        torch.testing.assert_close(
            low.attention(x).float(), model.attention(x), atol=UNIT[precision], rtol=0
        )
        with pytest.warns(PaddingWarning):
            masked, wanted = low(x, mask), model(x, mask)
        torch.testing.assert_close(
            masked,
            wanted,
            atol=20 * UNIT[precision] * wanted.abs().max().item(),
            rtol=0,
        )
        assert (masked[1] - low(x)[1]).abs().max() > 0.01, (
            "the mask must matter, or it proves nothing"
        )
    low.reset_classifier(5)
    assert low(x).shape == (4, 5) and precision_of(low) == precision


@pytest.mark.parametrize(
    ("name", "precision"),
    [("resnet1d", "bfloat16"), ("ecg_fm", "bfloat16"), ("ecg_fm", "int8")],
)
def test_it_can_be_explained(name: str, precision: str) -> None:
    model, x = build(name), signals()
    low = lowered(model, precision)
    for method in ("gradient_x_input", "grad_cam"):
        wanted, found = (
            explain(model, x, method, target=1),
            explain(low, x, method, target=1),
        )
        assert found.dtype == torch.float32
        assert (
            torch.corrcoef(torch.stack([wanted.flatten(), found.flatten()]))[0, 1]
            > 0.97
        )


def test_what_cannot_be_lowered_is_refused() -> None:
    model = build("resnet1d")
    before = copy.deepcopy(model.state_dict())
    assert to_precision(model, "float32") is model
    with pytest.raises(ConfigError, match="no linear layer of 64 inputs"):
        to_precision(model, "int8")
    with pytest.raises(ConfigError, match="Did you mean 'bfloat16'"):
        to_precision(model, "bfloat")
    assert all(
        torch.equal(value, before[key]) for key, value in model.state_dict().items()
    )
    low = to_precision(model, "bfloat16")
    assert low is model and to_precision(low, "bfloat16") is low
    for other in ("float32", "float16"):
        with pytest.raises(
            ConfigError, match=f"in bfloat16 and cannot be converted to {other}"
        ):
            to_precision(low, other)
    spoilt = build("ecg_fm")
    with torch.no_grad():
        spoilt.layers[1].down.weight[0, 0] = float("inf")
    with pytest.raises(ConfigError, match="NaN or infinite"):
        to_precision(spoilt, "int8")
    assert precision_of(spoilt) == "float32", "none is replaced where one cannot be"


def test_the_original_ecg_fm_in_lower_precision(golden_dir: Path) -> None:
    """A float32 stem is worth it: all in bfloat16 moves the logits by 0.035, as the
    original's reference says too."""
    model = load_ecg_fm(golden_dir / "ecg_fm" / "finetuned.pt")
    with np.load(golden_dir / "ecg_fm" / "inputs.npz") as file:
        x = torch.from_numpy(np.concatenate([file["real"], file["synth"]])).float()
    with torch.inference_mode():
        wanted = model(x)
        everything = copy.deepcopy(model).bfloat16()(x.bfloat16()).float()
        changes = {
            name: (lowered(model, name)(x) - wanted).abs().max().item()
            for name in PRECISIONS[1:]
        }
    assert (everything - wanted).abs().max().item() == pytest.approx(0.035, abs=0.004)
    assert changes["bfloat16"] == pytest.approx(0.0070, abs=0.002)
    assert changes["float16"] == pytest.approx(0.0014, abs=0.0006)
    assert changes["int8"] == pytest.approx(0.0034, abs=0.001)


def test_sizes_of_the_published_model() -> None:
    """Counted from its shapes: 361 MB in float32, 191 in half, 106 with linear layers
    of 8 bits."""
    with torch.device("meta"):
        model = build_model(
            "ecg_fm", n_leads=12, n_samples=2500, fs=500.0, n_classes=17
        )
        encoder = [
            layer for layer in model.layers.modules() if isinstance(layer, nn.Linear)
        ] + [model.project]
        weights, outputs = (
            sum(e.weight.numel() for e in encoder),
            sum(e.out_features for e in encoder),
        )
        size = n_bytes(model)
        assert size == 361_545_284
        assert (
            n_bytes(to_precision(model, "bfloat16"))
            == size - 2 * (weights + outputs)
            == 191_115_332
        )
        assert size - 3 * weights + 4 * outputs == 106_486_340


@pytest.mark.parametrize(
    "model", ["pathology_avb/model.json", "ribeiro_small/model.keras"]
)
def test_a_ported_classifier(model: str, golden_dir: Path) -> None:
    from ecgnb.port import port_keras
    from ecgnb.port.backbone import backbone_of

    contract = {"pathology_avb": "pathology_avb", "ribeiro_small": "ribeiro"}[
        model.split("/")[0]
    ]
    port = backbone_of(port_keras(golden_dir / "keras" / model, contract=contract))
    golden = np.load(golden_dir / "keras" / model.split("/")[0] / "golden.npz")
    x = torch.from_numpy(
        golden[next(name for name in golden.files if name.startswith("in/"))]
    ).transpose(1, 2)
    with torch.inference_mode():
        wanted = port(x)
        for precision in ("bfloat16", "float16"):
            low = lowered(port, precision)
            made = [low(x), low.forward_features(x), *low.forward_intermediates(x)[1]]
            assert {each.dtype for each in made} == {torch.float32}
            assert (
                0
                < (made[0] - wanted).abs().max()
                < 20 * UNIT[precision] * wanted.abs().max()
            )
    with pytest.raises(ConfigError, match="no linear layer"):
        lowered(port, "int8")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics processor")
@pytest.mark.parametrize("name", NAMES)
def test_on_a_graphics_processor(name: str) -> None:
    model, x = build(name).cuda(), signals().cuda()
    with torch.inference_mode():
        wanted = model(x)
        for precision in ("bfloat16", "float16"):
            found = lowered(model, precision)(x)
            assert found.dtype == torch.float32
            assert (
                0
                < (found - wanted).abs().max()
                < 30 * UNIT[precision] * wanted.abs().max()
            )
    if name == "ecg_fm":
        with pytest.raises(ConfigError, match="int8 is for CPUs"):
            lowered(model, "int8")
