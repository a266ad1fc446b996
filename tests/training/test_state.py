"""State of a training: sums, files and the errors of numbers that are not finite."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_fakes import (
    CLASSES,
    FakeObjective,
    FakeStore,
    fit_fake,
    make_loaders,
    make_model,
)

from ecgnb.core.errors import EcgnbError
from ecgnb.objectives import Loss
from ecgnb.training.checkpoint import read_checkpoint
from ecgnb.training.config import TrainConfig
from ecgnb.training.loop import fit
from ecgnb.training.state import Files, State, best_score, monitor_of

CONFIG = TrainConfig(epochs=3, batch_size_cpu=8, lr=1e-2, device="cpu")


def test_the_history_is_written_only_when_it_changes(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.write_history([])
    assert not files.history.exists()
    files.write_history([{"epoch": 1, "valid_loss": 0.1 + 0.2}])
    text = files.history.read_text(encoding="utf-8")
    assert text == "epoch,valid_loss\n1,0.30000000000000004\n"
    before = files.history.stat().st_mtime_ns
    files.write_history([{"epoch": 1, "valid_loss": 0.1 + 0.2}])
    assert files.history.stat().st_mtime_ns == before


def test_the_loss_is_monitored_where_the_score_is_missing() -> None:
    config = TrainConfig(monitor="macro_f1")
    scored = State(history=[{"macro_f1": 0.5}], best_score=0.5)
    assert (monitor_of(config, scored), best_score(config, scored)) == ("macro_f1", 0.5)
    unscored = State(history=[{"valid_loss": 0.7}], best_score=-0.7)
    assert (monitor_of(config, unscored), best_score(config, unscored)) == ("loss", 0.7)
    assert math.isnan(best_score(config, State()))


@pytest.mark.parametrize(
    ("scores", "losses", "best_epoch", "stale_epochs"),
    [
        # The score is at its ceiling while the loss still falls: the last is the best.
        ([0.9, 1.0, 1.0, 1.0], [0.9, 0.5, 0.4, 0.3], 4, 0),
        # Of equal scores the lowest loss, wherever it is.
        ([1.0, 1.0, 1.0, 1.0], [0.5, 0.3, 0.4, 0.6], 2, 2),
        # A better score wins over any loss; the lower loss of epoch 3 renews patience.
        ([0.8, 0.9, 0.7, 0.7], [0.5, 0.6, 0.4, 0.4], 2, 1),
        ([0.8, 0.9, 0.7, 0.7], [0.3, 0.6, 0.4, 0.3], 2, 2),
        # A rounding error is no better score.
        ([0.7, 0.7 + 1e-16, 0.7 - 1e-16], [0.5, 0.6, 0.4], 3, 0),
        # Without a defined score the loss decides; any defined score is better.
        ([math.nan, math.nan, math.nan], [0.5, 0.4, 0.6], 2, 1),
        ([math.nan, 0.1, math.nan], [0.5, 0.9, 0.4], 2, 0),
    ],
)
def test_best_epoch_and_patience_look_at_score_and_loss(
    scores: list[float], losses: list[float], best_epoch: int, stale_epochs: int
) -> None:
    state = State()
    for epoch, (score, loss) in enumerate(zip(scores, losses, strict=True), start=1):
        state.is_new_best(epoch, score, loss)
    assert (state.best_epoch, state.stale_epochs) == (best_epoch, stale_epochs)
    assert state.best_loss == losses[best_epoch - 1]
    assert state.lowest_loss == min(losses)


def test_metrics_that_change_between_steps_are_refused(tmp_path: Path) -> None:
    class Changes(FakeObjective):
        def loss(self, model: Any, views: Any) -> Loss:
            loss = super().loss(model, views)
            self.calls = getattr(self, "calls", 0) + 1
            return loss._replace(metrics={f"metric_{self.calls}": loss.value})

    with pytest.raises(EcgnbError, match=r"changed from \['metric_1'\] to"):
        fit_fake(CONFIG, tmp_path, objective=Changes())


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(EcgnbError) as caught:
        fit_fake(CONFIG, tmp_path, objective=FakeObjective(spoil_step=7))
    told = str(caught.value)
    train, _ = make_loaders(CONFIG)
    rows = sorted(train.batch_rows(1, 2).tolist())
    assert (
        f"The loss became nan in epoch 2 at step 8, over store rows {', '.join(map(str, rows))}."
        in told
    )
    assert "signals are finite" in told and "lower lr" in told
    assert (
        f"The last good checkpoint is kept: {tmp_path / 'checkpoints' / 'last.ckpt'}"
        in told
    )
    kept = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert kept["state"]["epoch"] == 1
    assert all(value.isfinite().all() for value in kept["model"].values())


def test_a_record_that_is_not_finite_is_named(tmp_path: Path) -> None:
    class Spoiled(FakeStore):
        def read(self, rows: np.ndarray) -> np.ndarray:
            signal = super().read(rows)
            signal[rows == 30] = np.nan
            return signal

    train, valid = make_loaders(CONFIG, Spoiled())
    arguments: dict[str, Any] = {"classes": CLASSES}
    with pytest.raises(EcgnbError, match="The stored signals of rows 30 contain NaN"):
        fit(make_model(), FakeObjective(), train, valid, CONFIG, tmp_path, **arguments)
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_a_gradient_that_is_not_finite(tmp_path: Path) -> None:
    class Steep(FakeObjective):
        def loss(self, model: Any, views: Any) -> Loss:
            loss = super().loss(model, views)
            difference = model(views[0]).sub(model(views[0]).detach())
            return loss._replace(value=loss.value + difference.abs().sum().sqrt())

    with pytest.raises(
        EcgnbError, match="The gradient's norm became nan in epoch 1 at step 1"
    ):
        fit_fake(CONFIG, tmp_path, dropout=0.0, objective=Steep())
