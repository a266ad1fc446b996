from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn
from torch.nn import functional
from training_fakes import FakeObjective, FakeStore, make_model

from ecgnb.core.errors import ConfigError
from ecgnb.data.loading.loaders import Loader
from ecgnb.objectives.base import Learner
from ecgnb.training.validation import (
    Sums,
    predict_logits,
    run_learner,
    validation_scores,
)


def run(model: nn.Module, loader: Loader, **options: Any) -> Sums:
    objective = FakeObjective()
    return run_learner(Learner(model, objective), objective, loader, seed=0, **options)


def test_logits_are_in_the_order_of_the_rows() -> None:
    store, model = FakeStore(), make_model("batch")
    rows = np.array([9, 3, 41, 7, 0, 22, 5])
    loader = Loader(store, rows, store.labels[rows], batch_size=3)
    found = predict_logits(model, loader, FakeObjective())
    expected = model.eval()(torch.from_numpy(store.read(rows)))
    np.testing.assert_allclose(found.logits, expected.detach(), atol=1e-6)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.targets, store.labels[rows])


def test_loss_is_the_mean_over_records_and_the_mode_is_kept() -> None:
    store, model = FakeStore(), make_model("batch")
    model.train()
    loader = Loader(store, np.arange(7), store.labels[:7], batch_size=3)
    sums = run(model, loader)
    assert model.training
    targets = torch.tensor(store.labels[:7])
    expected = functional.cross_entropy(sums.logits, targets).item()
    assert sums.scalars.item() / 7 == pytest.approx(expected)
    assert torch.equal(run(model, loader, n_batches=1).logits, sums.logits[:3])


def test_the_parts_of_all_ranks_add_up() -> None:
    store, model = FakeStore(), make_model()
    rows, labels = np.arange(7), store.labels[:7]
    parts = []
    for rank in range(3):
        part = Loader(store, rows, labels, batch_size=1, rank=rank, world_size=3)
        parts.append(run(model, part))
    whole = run(model, Loader(store, rows, labels, batch_size=3))
    together = sum(part.logits for part in parts)
    torch.testing.assert_close(together, whole.logits, atol=1e-6, rtol=0)
    loss = sum(part.scalars.item() for part in parts)
    assert loss == pytest.approx(whole.scalars.item(), abs=1e-5)


def test_loaders_that_cannot_be_validated_with() -> None:
    store = FakeStore()
    shuffled = Loader(store, np.arange(7), store.labels[:7], batch_size=3, shuffle=True)
    with pytest.raises(ConfigError, match="shuffle=False"):
        predict_logits(make_model(), shuffled, FakeObjective())
    part = Loader(
        store, np.arange(7), store.labels[:7], batch_size=3, rank=1, world_size=2
    )
    with pytest.raises(ConfigError, match="world_size=1"):
        predict_logits(make_model(), part, FakeObjective())


def test_multiclass_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    logits, targets = (
        rng.normal(size=(60, 3)).astype(np.float32),
        rng.integers(0, 3, 60),
    )
    found = validation_scores(targets, logits, ("A", "B", "C"), "multiclass")
    assert list(found) == [
        "macro_f1",
        "macro_auroc",
        "f1_A",
        "f1_B",
        "f1_C",
        "auroc_A",
        "auroc_B",
        "auroc_C",
    ]
    assert found["macro_f1"] == pytest.approx(
        f1_score(targets, logits.argmax(1), average="macro")
    )
    odds = np.exp(logits.astype(np.float64))
    probabilities = odds / odds.sum(1, keepdims=True)
    assert found["macro_auroc"] == pytest.approx(
        roc_auc_score(targets, probabilities, multi_class="ovr")
    )
    assert found["auroc_B"] == pytest.approx(
        roc_auc_score(targets == 1, probabilities[:, 1])
    )


def test_multilabel_at_one_half_and_undefined_classes() -> None:
    targets = np.array([[1, 0], [0, 0], [1, 0]], dtype=np.float32)
    logits = np.array([[2.0, -1.0], [1.0, -2.0], [-0.1, -3.0]])
    found = validation_scores(targets, logits, ["A", "B"], "multilabel")
    assert found["f1_A"] == found["macro_f1"] == pytest.approx(0.5)
    assert found["auroc_A"] == found["macro_auroc"] == pytest.approx(0.5)
    assert math.isnan(found["auroc_B"])
