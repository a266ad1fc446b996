"""Layers of ECG-FM: weights, codebook, head."""

from __future__ import annotations

import pytest
import torch
from small_ecg_fm import small_ecg_fm

from ecgnb.models.ecg_fm_parts import Codebook, MeanHead


def test_weights_are_drawn_as_the_original_does():
    model = small_ecg_fm(dim=256, ffn=512, position_groups=16)
    assert model.layers[0].up.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert model.position.direction.std().item() == pytest.approx(
        (4 / (128 * 256)) ** 0.5, rel=0.03
    )
    assert model.layers[0].up.bias.abs().max() == 0


def test_codes_are_the_best_entries():
    book = Codebook(4, groups=2, entries=3, width=6)
    torch.nn.init.uniform_(book.vectors)
    features = torch.randn(2, 5, 4)
    codes = book(features)
    assert codes.shape == (2, 5, 2)
    scores = book.scores(features)
    assert torch.equal(codes[..., 1], scores[..., 3:].argmax(-1))
    joined = book.quantized(codes)
    assert torch.equal(
        joined[0, 0],
        torch.cat(
            [book.vectors[0, codes[0, 0, 0]], book.vectors[0, 3 + codes[0, 0, 1]]]
        ),
    )


def test_the_mean_counts_what_is_not_zero():
    head = MeanHead(2, 1)
    tokens = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 0.0]]])
    assert head.embed(tokens).tolist() == [[2.0, 0.0]]
