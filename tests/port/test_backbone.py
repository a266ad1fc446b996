"""A ported classifier keeps the promises of every model of the workbench."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch

from ecgnb.core.errors import ConfigError
from ecgnb.models import build_model, model_summary
from ecgnb.port import port_keras
from ecgnb.port.backbone import KerasBackbone, backbone_of
from ecgnb.port.contract import Contract

GENERIC = Contract(fs=250.0, n_samples=3000, leads=("I",), classes=("a", "b", "c"))
CASES = {
    "pathology_avb/model.json": "pathology_avb",
    "generic_ecg/model.keras": GENERIC,
    "ribeiro_small/model.keras": "ribeiro",
}


@pytest.fixture(scope="module", params=CASES)
def pair(request, golden_dir):
    """A port, its backbone and a golden input, channels first."""
    port = port_keras(
        golden_dir / "keras" / request.param, contract=CASES[request.param]
    )
    golden = np.load(golden_dir / "keras" / request.param.split("/")[0] / "golden.npz")
    key = next(name for name in golden.files if name.startswith("in/"))
    return (
        port,
        backbone_of(port),
        torch.from_numpy(golden[key]).transpose(1, 2).contiguous(),
    )


@torch.no_grad()
def test_backbone_gives_the_ports_logits(pair):
    port, model, x = pair
    expected = port.logits(x.transpose(1, 2))
    torch.testing.assert_close(
        model(x), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item()
    )
    assert model.n_parameters() == sum(p.numel() for p in port.parameters())


@torch.no_grad()
def test_backbone_feature_maps(pair):
    _, model, x = pair
    final, maps = model.forward_intermediates(x)
    assert torch.equal(final, model.forward_features(x)) and torch.equal(
        final, maps[-1]
    )
    torch.testing.assert_close(model.head(final), model(x))
    torch.testing.assert_close(model.head.classifier(model.head.embed(final)), model(x))
    for feature, info in zip(maps, model.feature_info, strict=True):
        assert feature.shape[:2] == (len(x), info["channels"])
        assert (
            0 <= math.ceil(model.n_samples / info["reduction"]) - feature.shape[2] <= 1
        )  # "valid" pooling drops ends
        assert dict(model.named_modules())[info["name"]] is not None
    lengths = [feature.shape[2] for feature in maps]
    assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) == len(
        lengths
    )
    assert [
        torch.equal(a, b)
        for a, b in zip(model.forward_intermediates(x, 2)[1], maps[-2:], strict=True)
    ] == [True] * 2


@torch.no_grad()
def test_backbone_is_built_again_from_its_spec(pair):
    _, model, x = pair
    spec = json.loads(json.dumps(model.spec()))
    again = build_model(**spec).eval()
    assert isinstance(again, KerasBackbone)
    again.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(again(x), model(x))


def test_backbone_is_fine_tuned(pair):
    """New classes learn a handful by heart; the port that it came from keeps its
    weights."""
    port, model, x = pair
    before = copy.deepcopy(port.state_dict())
    tuned = copy.deepcopy(model)
    torch.manual_seed(0)
    tuned.reset_classifier(4)
    tuned.train()
    y = torch.tensor([3, 1])
    optimizer = torch.optim.Adam(tuned.parameters(), 1e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(tuned(x / x.abs().amax()), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < 0.5 * losses[0]
    assert all(
        torch.equal(value, before[key]) for key, value in port.state_dict().items()
    )
    again = build_model(**tuned.spec())
    again.load_state_dict(tuned.state_dict(), strict=True)
    assert again.n_classes == 4 and again.spec() == tuned.spec()


def test_backbone_summary_counts_every_parameter(pair):
    _, model, _ = pair
    assert model_summary(model).parameters.iloc[-1] == model.n_parameters()


def test_backbone_refuses_words_that_the_file_contradicts(pair):
    _, model, _ = pair
    words = {**model.spec(), "n_samples": 1000}
    with pytest.raises(ConfigError, match="n_samples=1000"):
        build_model(**words)
    with pytest.raises(ConfigError, match="n_leads=5"):
        build_model(**{**model.spec(), "n_leads": 5, "leads": []})
