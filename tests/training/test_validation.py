from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional
from training_fakes import FakeObjective, FakeStore, make_model

from ecgnb.core.errors import ConfigError
from ecgnb.data.loading.loaders import Loader
from ecgnb.training.validation import predict_logits, run_model


def test_logits_stand_in_the_order_of_the_rows() -> None:
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
    logits, loss_sum = run_model(model, loader, FakeObjective(), seed=0)
    assert model.training
    assert loss_sum.item() / 7 == pytest.approx(
        functional.cross_entropy(logits, torch.tensor(store.labels[:7])).item()
    )
    assert not model._forward_hooks
    few, _ = run_model(model, loader, FakeObjective(), seed=0, n_batches=1)
    assert torch.equal(few, logits[:3])


def test_ranks_fill_their_own_places() -> None:
    store, model = FakeStore(), make_model()
    rows = np.arange(7)
    parts = [
        run_model(
            model,
            Loader(
                store, rows, store.labels[:7], batch_size=1, rank=rank, world_size=3
            ),
            FakeObjective(),
            seed=0,
        )
        for rank in range(3)
    ]
    logits, loss_sum = run_model(
        model,
        Loader(store, rows, store.labels[:7], batch_size=3),
        FakeObjective(),
        seed=0,
    )
    torch.testing.assert_close(
        sum(part[0] for part in parts), logits, atol=1e-6, rtol=0
    )
    assert sum(part[1].item() for part in parts) == pytest.approx(
        loss_sum.item(), abs=1e-5
    )


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
