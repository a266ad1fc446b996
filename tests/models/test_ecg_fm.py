"""ECG-FM without its checkpoints: padding, attention, classifier, sizes."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from small_ecg_fm import small_ecg_fm

from ecgnb.core.errors import ConfigError
from ecgnb.models.ecg_fm import EcgFM, PaddingWarning


def test_sizes_of_the_published_models():
    words = {"n_leads": 12, "n_samples": 2500, "fs": 500.0}
    with torch.device("meta"):
        assert (
            EcgFM(**words, n_classes=0, codebook=(2, 320, 256)).n_parameters()
            == 90_883_072
        )
        assert EcgFM(**words, n_classes=0).n_parameters() == 90_373_248
        assert EcgFM(**words, n_classes=17).n_parameters() == 90_386_321
        assert EcgFM(**words, n_classes=17).forward_features(
            torch.empty(1, 12, 5000)
        ).shape == (1, 312, 768)


@pytest.mark.parametrize(
    ("samples", "tokens"), [(2500, 156), (5000, 312), (1237, 77), (16, 1)]
)
def test_tokens_of_a_length(samples, tokens):
    model = small_ecg_fm()
    assert model.forward_features(torch.randn(2, 12, samples)).shape == (2, tokens, 48)
    assert model.stem.n_tokens(samples) == tokens
    assert model.stem.n_tokens(torch.tensor([samples])).tolist() == [tokens]


def test_attention_weights_are_those_of_the_forward_pass():
    model = small_ecg_fm()
    x = torch.randn(2, 12, 800)
    weights = model.attention(x)
    assert weights.shape == (2, 3, 50, 50)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 50))
    layer = model.layers[0].attention
    single = copy.deepcopy(layer)
    single.n_heads = 1
    tokens = model._tokens(x, None)[0]
    torch.testing.assert_close(
        single.out(single.weights(tokens, None) @ single.value(tokens)),
        single(tokens, None),
        atol=1e-5,
        rtol=1e-4,
    )


def test_padded_keys_get_no_attention():
    model = small_ecg_fm()
    mask = torch.zeros(1, 800, dtype=torch.bool)
    mask[:, 400:] = True
    with pytest.warns(PaddingWarning):
        weights = model.attention(torch.randn(1, 12, 800), mask)
    assert weights[..., 25:].abs().max() == 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 3, 50))


def test_what_is_padding_changes_nothing_behind_the_stem():
    """Other numbers in padded samples change the stem's statistics alone; without its
    norm they change nothing."""
    model = small_ecg_fm()
    model.stem.norm = torch.nn.Identity()
    x, mask = torch.randn(1, 12, 800), torch.zeros(1, 800, dtype=torch.bool)
    mask[:, 416:] = True  # a token sees 16 samples
    with pytest.warns(PaddingWarning):
        one = model.embed(x, mask)
        x[..., 416:] += 5
        position = model.position
        model.position = (
            torch.nn.Identity()
        )  # it reaches over the border, as in the original
        two, three = model.embed(x, mask), model.embed(x - 5 * mask, mask)
    torch.testing.assert_close(two, three)
    model.position = position
    assert one.shape == two.shape


def test_training_validates_the_weights_that_it_has():
    """A fused optimizer on the CPU changes weights without a trace; validation must see
    them all the same."""
    model, x = small_ecg_fm(), torch.randn(4, 12, 800)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    for _ in range(3):
        with torch.inference_mode():
            model(x)
        model(x).square().sum().backward()
        optimizer.step()
    with torch.inference_mode():
        found = model(x)
    torch.testing.assert_close(found, model(x).detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_inference_under_autocast(dtype):
    model, x = small_ecg_fm(), torch.randn(2, 12, 800)
    with torch.inference_mode():
        expected = model(x)
        with torch.autocast("cpu", dtype=dtype):
            found = model(x)
    assert (found.float() - expected).abs().max() <= 0.05 * expected.abs().max()


def test_several_threads_with_other_lengths():
    model = small_ecg_fm()
    lengths = [400, 800, 1200] * 4
    with torch.inference_mode():
        expected = {
            length: model(torch.ones(1, 12, length).cumsum(2))
            for length in set(lengths)
        }

    def ask(length):
        with torch.inference_mode():
            return length, [
                model(torch.ones(1, 12, length).cumsum(2)) for _ in range(5)
            ]

    with ThreadPoolExecutor(6) as pool:
        for length, found in pool.map(ask, lengths):
            assert all(torch.equal(each, expected[length]) for each in found)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            torch.zeros(2, 801, dtype=torch.bool),
            r"shape \[2, 801\]; for these signals give \[2, 800\] or \[2, 12, 800\]",
        ),
        (torch.zeros(1, 800, dtype=torch.bool), r"shape \[1, 800\]"),
        (torch.zeros(2, 3, 800, dtype=torch.bool), r"shape \[2, 3, 800\]"),
        (torch.arange(800).lt(100).expand(2, -1), "padding must be at the end"),
    ],
)
def test_masks_that_do_not_fit(mask, message):
    with pytest.raises(ConfigError, match=message):
        small_ecg_fm()(torch.randn(2, 12, 800), mask)


def test_features_of_padded_tokens_are_zero_with_a_classifier():
    mask = torch.zeros(1, 800, dtype=torch.bool)
    mask[:, 400:] = True
    x = torch.randn(1, 12, 800)
    with pytest.warns(PaddingWarning):
        assert small_ecg_fm().forward_features(x, mask)[:, 25:].abs().max() == 0
        assert (
            small_ecg_fm().forward_intermediates(x, [], mask)[0][:, 25:].abs().max()
            == 0
        )
        assert (
            small_ecg_fm(n_classes=0).forward_features(x, mask)[:, 25:].abs().max() > 0
        )


def test_a_classifier_of_no_classes_changes_nothing():
    model = small_ecg_fm(n_classes=0, codebook=(2, 5, 8))
    with pytest.raises(ConfigError, match="n_classes of a classifier must be above 0"):
        model.reset_classifier(0)
    assert model.pretraining is not None and model.head.classifier is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_heads": 5}, "n_heads=5 must divide dim=48"),
        ({"position_groups": 7}, "position_groups=7 must divide dim=48"),
        ({"codebook": (3, 4, 8)}, "3 groups cannot have width 8"),
    ],
)
def test_sizes_that_do_not_go_together(options, message):
    with pytest.raises(ConfigError, match=message):
        small_ecg_fm(**options)


def test_dropout_only_in_training():
    model = small_ecg_fm(dropout=0.2, attention_dropout=0.2, activation_dropout=0.2)
    x = torch.randn(2, 12, 800)
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))
