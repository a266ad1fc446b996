"""Building by name: what is refused, and how it is said."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from ecgnb.core.errors import ConfigError
from ecgnb.models import MODELS, Backbone, StagedBackbone, build_model
from ecgnb.models.layers import BatchNorm, ConvNorm, PoolHead, make_norm, make_shortcut

WORDS = {"n_leads": 2, "n_samples": 300, "fs": 100.0, "n_classes": 3}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("resnet", {}, "no model called 'resnet'. Did you mean 'resnet1d'"),
        ("resnet1d", {"width": (8,)}, "no option 'width'. Did you mean 'widths'"),
        ("resnet1d", {"n_lead": 2}, "no option 'n_lead'. Did you mean 'n_leads'"),
        ("xresnet1d101", {"blocks": (1,)}, "Its options: kernel, hidden, dropout"),
        ("resnet1d", {"n_classes": 0}, "n_classes above 0; it was given 0"),
        ("resnet1d", {"fs": 0.0}, "fs above 0"),
        ("resnet1d", {"task": "regression"}, "no task 'regression'"),
        ("resnet1d", {"leads": ("I",)}, "1 lead names ['I'] for n_leads=2"),
        ("resnet1d", {"norm": "layer"}, "no norm 'layer'"),
        ("resnet1d", {"pool": "sum"}, "no pool 'sum'"),
        ("resnet1d", {"kernel": 4}, "odd size"),
        ("resnet1d", {"depths": (1,)}, "one depth a width"),
        ("resnet1d", {"dropout": 1.0}, "below 1; it was given 1.0"),
    ],
)
def test_wrong_arguments_say_what_to_do(name, changes, message):
    with pytest.raises(ConfigError) as caught:
        build_model(name, **{**WORDS, **changes})
    assert message in str(caught.value)


def test_missing_words_are_named():
    with pytest.raises(ConfigError, match="must be told fs, n_classes"):
        build_model("resnet1d", n_leads=2, n_samples=300)


def test_a_model_made_without_its_name_knows_its_spec():
    direct = MODELS.get("resnet1d")(**WORDS, widths=(8, 16), depths=(1, 1))
    assert direct.spec()["widths"] == [8, 16] and direct.spec()["kernel"] == 7
    torch.manual_seed(0)
    assert build_model(**direct.spec()).n_parameters() == direct.n_parameters()


def test_copies_keep_their_spec():
    model = build_model("resnet1d", **WORDS, widths=(8, 16), depths=(1, 1))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.spec() == model.spec()
        assert torch.equal(other.head.classifier.weight, model.head.classifier.weight)


def test_an_unregistered_model_says_so():
    class Nameless(StagedBackbone):
        pass

    with pytest.raises(ConfigError, match="register it"):
        Nameless(**WORDS).spec()
    with pytest.raises(TypeError):
        Backbone(**WORDS)


def test_convnorm_length_and_shortcut():
    for n in (1, 7, 8, 313):
        x = torch.randn(2, 4, n)
        for stride in (1, 2, 3):
            length = -(-n // stride)
            assert ConvNorm(4, 6, 5, stride=stride).eval()(x).shape == (2, 6, length)
            assert make_shortcut(4, 6, stride).eval()(x).shape == (2, 6, length)
    assert len(make_shortcut(4, 4, 1)) == 0
    pooled = make_shortcut(1, 1, 2)(torch.tensor([[[1.0, 3.0, 5.0]]]))
    assert pooled.tolist() == [
        [[2.0, 5.0]]
    ]  # the last, half-empty window is averaged over what it has


def test_group_norm_ignores_the_batch():
    norm = make_norm("group", 12)
    assert norm.num_groups == 4
    x = torch.randn(5, 12, 30)
    torch.testing.assert_close(norm(x)[2:3], norm(x[2:3]))


def test_batch_norm_with_one_value_uses_running_statistics():
    norm = BatchNorm(3)
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    torch.testing.assert_close(
        norm(torch.full((1, 3), 4.0)), torch.ones(1, 3), atol=1e-5, rtol=0
    )
    assert norm.running_mean.tolist() == [2.0] * 3
    with torch.no_grad():
        x = torch.randn(4, 3, 10)
        torch.testing.assert_close(BatchNorm(3)(x), torch.nn.BatchNorm1d(3)(x))


def test_pools():
    features = torch.tensor([[[1.0, 2.0, 6.0], [0.0, 0.0, -3.0]]])
    expected = {"avg": [3.0, -1.0], "max": [6.0, 0.0], "avgmax": [3.0, -1.0, 6.0, 0.0]}
    for pool, values in expected.items():
        assert PoolHead(2, 5, pool=pool).eval().embed(features)[0].tolist() == values
