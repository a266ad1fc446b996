"""The architecture of a checkpoint: what its shapes and its configuration tell, and
what is refused."""

from __future__ import annotations

import json

import pytest

from ecgnb.core.errors import CheckpointError
from ecgnb.foundation.ecg_fm_config import parse_conv_layers
from ecgnb.foundation.ecg_fm_names import original_name, renamed


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("[(256, 2, 2)] * 4", [(256, 2, 2)] * 4),
        ("[(48, 5, 3)] + [(48, 3, 2)] * 2", [(48, 5, 3), (48, 3, 2), (48, 3, 2)]),
        ("[(8, 3, 1), (8, 3, 2)]", [(8, 3, 1), (8, 3, 2)]),
    ],
)
def test_convolutions_are_parsed(text, layers):
    assert parse_conv_layers(text) == layers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[(256, 2)] * 4",
        "[(256, 2, 0)]",
        "[(256, 2, True)]",
        "[(1, 2, 3)] * 10**9",
        "[(1, 2, 3)] * 65",
        "[(1, 2, 3)] * 9 * 9 * 9 * 9",
        "__import__('os').system('echo')",
        "(lambda: [(1, 2, 3)])()",
        "[(x, 2, 2)]",
        "'a' * 4",
        "(" * 900,
        "[(256, 2, 2)] * '4'",
    ],
)
def test_other_text_is_refused_and_never_run(text):
    with pytest.raises(CheckpointError, match="should list"):
        parse_conv_layers(text)


@pytest.mark.parametrize(
    "kind", ["pretrained", "finetuned", "pretrained_variant", "finetuned_variant"]
)
def test_every_name_of_the_original_is_known_and_found_again(kind, golden_dir):
    shapes = json.loads(
        (golden_dir / "ecg_fm" / f"{kind}_info.json").read_text(encoding="utf-8")
    )["shapes"]
    names = renamed(shapes)
    assert len(set(names.values())) == len(shapes)
    assert {original_name(ours, "finetuned" in kind) for ours in names.values()} == set(
        shapes
    )


def test_two_layer_norms_stay_apart():
    """Taking the prefix off too often would make one of them."""
    names = renamed(
        [
            "encoder.layer_norm.weight",
            "encoder.encoder.layer_norm.weight",
            "encoder.feature_extractor.conv_layers.0.0.weight",
        ]
    )
    assert names["encoder.layer_norm.weight"] == "stem_norm.weight"
    assert names["encoder.encoder.layer_norm.weight"] == "norm.weight"


def test_both_spellings_at_once_are_refused():
    spelt = [
        "conv_pos.pos_conv.0.weight_g",
        "conv_pos.pos_conv.0.parametrizations.weight.original0",
    ]
    with pytest.raises(CheckpointError, match=r"mean the same weight, position\.gain"):
        renamed(spelt)
