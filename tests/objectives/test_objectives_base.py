"""Objectives from outside the package: classes of this file, trained by the loop, by
several processes and by `ecgnb.train`."""

from __future__ import annotations

import copy
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from commands import launch_fast
from small_jobs import job
from torch import Tensor, nn
from torch.nn import functional
from training_fakes import CLASSES, FakeStore, StopAt

import ecgnb
from ecgnb.core.errors import ConfigError
from ecgnb.data.loading.loaders import Batch, Loader
from ecgnb.data.loading.sampler import mix
from ecgnb.models import build_model
from ecgnb.objectives import (
    OBJECTIVES,
    Loss,
    Objective,
    ObjectiveContext,
    build_objective,
)
from ecgnb.training.callbacks import Callback
from ecgnb.training.callbacks.step_log import StepLog
from ecgnb.training.checkpoint import read_checkpoint
from ecgnb.training.config import TrainConfig
from ecgnb.training.devices import make_fabric
from ecgnb.training.launch import launch
from ecgnb.training.loop import FitResult, fit
from ecgnb.transforms import build_pipeline

CONFIG = TrainConfig(epochs=2, batch_size_cpu=8, lr=1e-2, device="cpu")


@OBJECTIVES.register("two_views_of_a_test")
class TwoViews(Objective):
    """Contrastive learning (Chen et al. 2020, SimCLR) between two windows of a record,
    with a projection head."""

    def __init__(
        self, context: ObjectiveContext, *, temperature: float = 0.5, width: int = 4
    ) -> None:
        super().__init__()
        channels = context.model.feature_info[-1]["channels"]
        self.temperature = temperature
        self.head = nn.Sequential(
            nn.Linear(channels, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, width)
        )

    def views(
        self, batch: Batch, *, seed: int = 0, step: int = 0, train: bool = True
    ) -> Tensor:
        return batch.windows.flatten(0, 1)

    def loss(self, model: nn.Module, views: Tensor) -> Loss:
        embeddings = self.head(model.forward_features(views).mean(-1))
        embeddings = functional.normalize(embeddings, dim=-1)
        similarity = embeddings @ embeddings.T / self.temperature
        similarity.fill_diagonal_(-1e9)
        positives = torch.arange(len(views)) ^ 1  # windows 2i and 2i + 1 are a pair
        return Loss(functional.cross_entropy(similarity, positives))


@OBJECTIVES.register("teacher_of_a_test")
class Teacher(Objective):
    """BYOL (Grill et al. 2020): the model predicts the embedding that a moving average
    of itself has of another view."""

    def __init__(self, context: ObjectiveContext, *, momentum: float = 0.9) -> None:
        super().__init__()
        channels = context.model.feature_info[-1]["channels"]
        self.momentum = momentum
        self.predictor = nn.Linear(channels, channels)
        self.teacher = copy.deepcopy(context.model).requires_grad_(False)
        self.register_buffer("started", torch.zeros(()))
        self.register_buffer("epochs", torch.zeros(()))

    def views(
        self, batch: Batch, *, seed: int = 0, step: int = 0, train: bool = True
    ) -> tuple[Tensor, Tensor]:
        gains = [mix(seed, step, row) / 2**63 for row in batch.index.tolist()]
        scale = torch.tensor(gains).view(-1, 1, 1) if train else 0.5
        return batch.signal, batch.signal * (0.5 + scale)

    def loss(self, model: nn.Module, views: tuple[Tensor, Tensor]) -> Loss:
        online = self.predictor(model.forward_features(views[0]).mean(-1))
        with torch.no_grad():
            target = self.teacher.forward_features(views[1]).mean(-1)
        similarity = functional.cosine_similarity(online, target).mean()
        return Loss(2 - 2 * similarity, metrics={"similarity": similarity})

    def on_train_start(self, model: nn.Module) -> None:
        self.started += 1

    def on_step_end(self, model: nn.Module, step: int, total_steps: int) -> None:
        pairs = zip(self.teacher.parameters(), model.parameters(), strict=True)
        for old, new in pairs:
            old.lerp_(new, 1 - self.momentum)

    def on_epoch_end(self, model: nn.Module, epoch: int) -> None:
        self.epochs += 1


def small_model() -> nn.Module:
    torch.manual_seed(1)
    return build_model(
        "resnet1d",
        n_leads=2,
        n_samples=48,
        fs=100.0,
        n_classes=len(CLASSES),
        widths=(4, 8),
        depths=(1, 1),
        kernel=3,
        norm="group",
    )


def context_of(model: nn.Module, **changed: Any) -> ObjectiveContext:
    values: dict[str, Any] = {
        "task": "multiclass",
        "classes": CLASSES,
        "targets": FakeStore().labels,
        "transforms": build_pipeline(),
        "fs": 100.0,
        "config": CONFIG,
        "seed": 0,
    }
    return ObjectiveContext(model, **(values | changed))


def fit_small(
    kind: type[Objective],
    folder: Path,
    config: TrainConfig = CONFIG,
    fabric: Any = None,
    callbacks: Any = (),
    **options: Any,
) -> tuple[FitResult, Objective]:
    torch.set_num_threads(1)
    store, model = FakeStore(), small_model()
    objective = kind.build(context_of(model), **options)
    settings: dict[str, Any] = {"batch_size": config.batch_size_cpu}
    settings |= {"window_samples": 24}
    if fabric:
        settings |= {"rank": fabric.global_rank, "world_size": fabric.world_size}
    rows, labels = np.arange(50), store.labels
    train = Loader(store, rows[:37], labels[:37], shuffle=True, **settings)
    valid = Loader(store, rows[37:], labels[37:], **settings)
    result = fit(
        model,
        objective,
        train,
        valid,
        config,
        folder,
        classes=CLASSES,
        fabric=fabric,
        callbacks=callbacks,
    )
    return result, objective


def weights_of(folder: Path) -> dict[str, Tensor]:
    last = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    moments = {
        f"{index}.{name}": value
        for index, entry in last["optimizer"]["state"].items()
        for name, value in entry.items()
    }
    return {**last["model"], **last["objective"], **moments}


@pytest.mark.parametrize("kind", [TwoViews, Teacher])
def test_an_objective_with_modules_resumes_bit_for_bit(
    tmp_path: Path, kind: type[Objective], capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(CONFIG, checkpoint_every_steps=2)
    whole, _ = fit_small(kind, tmp_path / "whole", config)
    for step in (3, 7):  # in the middle of both epochs, a step after a checkpoint
        with pytest.raises(KeyboardInterrupt):
            fit_small(kind, tmp_path / "parts", config, callbacks=(StopAt(step),))
        torch.manual_seed(step)
    resumed, _ = fit_small(kind, tmp_path / "parts", config)
    left, right = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    times = ["seconds", "records_per_s"]
    pd.testing.assert_frame_equal(
        whole.history.drop(columns=times),
        resumed.history.drop(columns=times),
        check_exact=True,
    )


def test_the_projection_head_is_trained_and_its_biases_do_not_decay(
    tmp_path: Path,
) -> None:
    start = TwoViews(context_of(small_model())).state_dict()
    config = replace(CONFIG, epochs=1, weight_decay=0.3)
    result, _ = fit_small(TwoViews, tmp_path, config)
    best = read_checkpoint(result.best_path)["objective"]
    assert best.keys() == start.keys()
    groups = read_checkpoint(result.last_path)["optimizer"]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0, 0.3, 0.0]
    assert [len(group["params"]) for group in groups[2:]] == [2, 2]
    other, _ = fit_small(TwoViews, tmp_path / "other", config, temperature=0.1)
    moved = read_checkpoint(other.best_path)["objective"]
    assert not any(torch.equal(best[name], moved[name]) for name in best)


def test_without_outputs_the_loss_is_monitored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    result, _ = fit_small(TwoViews, tmp_path)
    assert "TwoViews returns no outputs for macro_auroc" in capsys.readouterr().out
    assert result.best_score == result.history["valid_loss"].min()
    assert "macro_f1" not in result.history
    assert read_checkpoint(result.best_path)["monitor"] == "loss"


def test_a_teacher_follows_the_model_and_its_metric_is_in_the_history(
    tmp_path: Path,
) -> None:
    result, objective = fit_small(Teacher, tmp_path)
    history = pd.read_csv(tmp_path / "history.csv")
    for part in ("train", "valid"):  # loss = 2 - 2 similarity
        expected = 1 - history[f"{part}_loss"] / 2
        np.testing.assert_allclose(history[f"{part}_similarity"], expected, atol=1e-6)
    assert (objective.started, objective.epochs) == (1, 2)
    one_step = replace(CONFIG, epochs=1, batch_size_cpu=64)
    start, (result, objective) = (
        small_model(),
        fit_small(Teacher, tmp_path / "one", one_step),
    )
    trained = read_checkpoint(result.last_path)["model"]
    for name, value in objective.teacher.named_parameters():
        before = start.get_parameter(name)
        expected = before + 0.1 * (trained[name] - before)
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=0)


def train_teacher(
    settings: dict[str, Any], folder: str, callbacks: list[Callback]
) -> None:
    config = TrainConfig(**settings)
    fabric = make_fabric(config, find_unused_parameters=True)
    fit_small(Teacher, Path(folder), config, fabric, callbacks)


def test_two_processes_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """37 = 3 * 12 + 1 records: in the last step one process has no record. The head of
    the model gets no gradient."""
    launch_fast(monkeypatch)
    one = {"epochs": 2, "batch_size_cpu": 12, "lr": 1e-2, "device": "cpu"}
    two = one | {"batch_size_cpu": 6, "devices": 2}
    callbacks = [StepLog()]
    fit_small(Teacher, tmp_path / "one", TrainConfig(**one), callbacks=callbacks)
    launch(train_teacher, TrainConfig(**two), two, str(tmp_path / "two"), callbacks)
    left, right = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert left.keys() == right.keys()
    assert max((left[name] - right[name]).abs().max().item() for name in left) < 1e-5
    histories = [
        pd.read_csv(tmp_path / name / "history.csv") for name in ("one", "two")
    ]
    for name in ("train_loss", "valid_loss", "train_similarity", "valid_similarity"):
        np.testing.assert_allclose(histories[0][name], histories[1][name], atol=1e-5)
    steps = [pd.read_csv(tmp_path / name / "steps.csv") for name in ("one", "two")]
    np.testing.assert_allclose(steps[0], steps[1], atol=1e-5)


class Watched(Objective):
    """Remembers which embeddings of its two views are still alive."""

    def __init__(self, context: ObjectiveContext) -> None:
        super().__init__()
        self.alive: list[int] = []
        self.embeddings: list[weakref.ref] = []

    def views(self, batch: Batch, **options: Any) -> tuple[Tensor, Tensor]:
        return batch.signal, batch.signal * 2

    def loss(self, model: nn.Module, views: tuple[Tensor, Tensor]) -> Loss:
        embeddings = [model(view) for view in views]
        self.embeddings += [weakref.ref(embedding) for embedding in embeddings]
        self.alive.append(sum(ref() is not None for ref in self.embeddings))
        return Loss((embeddings[0] - embeddings[1]).square().mean())


def test_validation_keeps_no_tensor_of_earlier_batches(tmp_path: Path) -> None:
    _, objective = fit_small(Watched, tmp_path, replace(CONFIG, batch_size_cpu=4))
    assert len(objective.alive) > 20
    assert max(objective.alive) <= 2  # those of the batch itself


def test_ecgnb_train_builds_the_objective_of_the_parameter(
    forty: Path, project: Path
) -> None:
    run = job(
        ("load_cohort", "prepare", "split", "train"),
        DATASET_DIR=str(forty),
        OBJECTIVE="two_views_of_a_test",
        OBJECTIVE_OPTIONS={"temperature": 0.2, "width": 5},
        WINDOW_SAMPLES=400,
    )
    assert run.history["valid_loss"].notna().all()
    best = read_checkpoint(run.path("checkpoints", "best.ckpt"))
    assert best["objective"]["head.3.weight"].shape == (5, 8)
    with pytest.raises(ConfigError, match="TwoViews returns no outputs"):
        ecgnb.evaluate(run)


def test_unknown_names_and_options_are_refused() -> None:
    context = context_of(small_model())
    with pytest.raises(ConfigError, match="Did you mean 'supervised'"):
        build_objective("supervisd", {}, context)
    with pytest.raises(ConfigError, match=r"no option 'temprature'.* 'temperature'"):
        build_objective("two_views_of_a_test", {"temprature": 1}, context)
    with pytest.raises(ConfigError, match=r"has no option 'lr'\. It has: none"):
        build_objective("supervised", {"lr": 1}, context)
    with pytest.raises(ConfigError, match="cannot be built with the options"):
        build_objective("two_views_of_a_test", {"width": "wide"}, context)


def test_the_seed_draws_the_weights_and_leaves_the_generator_alone() -> None:
    model = small_model()
    state = torch.get_rng_state()
    first, second, other = (
        build_objective("two_views_of_a_test", {}, context_of(model, seed=seed))
        for seed in (3, 3, 4)
    )
    assert torch.equal(first.head[0].weight, second.head[0].weight)
    assert not torch.equal(first.head[0].weight, other.head[0].weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_objective_that_keeps_the_model_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Keeps(Objective):
        def __init__(self, context: ObjectiveContext) -> None:
            super().__init__()
            self.model = context.model

    monkeypatch.setitem(OBJECTIVES._entries, "keeps", Keeps)
    with pytest.raises(ConfigError, match=r"Keeps keeps .* parameters of the model"):
        build_objective("keeps", {}, context_of(small_model()))


def test_a_loss_that_is_a_tensor_is_refused(tmp_path: Path) -> None:
    class Bare(Watched):
        def loss(self, model: nn.Module, views: Any) -> Any:
            return super().loss(model, views).value

    with pytest.raises(ConfigError, match=r"Bare\.loss returned a Tensor\. Return"):
        fit_small(Bare, tmp_path)
