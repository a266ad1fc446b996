from __future__ import annotations

import json

import pytest

from ecgnb.core.errors import CheckpointError
from ecgnb.foundation.ecg_fm_names import original_name, renamed


@pytest.mark.parametrize(
    "kind", ["pretrained", "finetuned", "pretrained_variant", "finetuned_variant"]
)
def test_every_name_of_the_original_is_known_and_found_again(kind, golden_dir):
    shapes = json.loads(
        (golden_dir / "ecg_fm" / f"{kind}_info.json").read_text(encoding="utf-8")
    )["shapes"]
    names = renamed(shapes)
    assert len(set(names.values())) == len(shapes)
    assert {original_name(key, "finetuned" in kind) for key in names.values()} == set(
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
