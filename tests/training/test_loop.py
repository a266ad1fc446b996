from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from commands import fast_processes
from kills import KILLS
from training_fakes import (
    CLASSES,
    FakeObjective,
    FakeStore,
    StopAt,
    fit_and_be_killed,
    fit_fake,
    make_loaders,
    make_model,
)

from ecgnb.core.errors import CheckpointError, ConfigError
from ecgnb.data.loading.loaders import Loader
from ecgnb.training.callbacks import Callback
from ecgnb.training.checkpoint import load_best, read_checkpoint
from ecgnb.training.config import TrainConfig
from ecgnb.training.loop import fit
from ecgnb.training.optimizer import learning_rate

CONFIG = TrainConfig(
    epochs=3, batch_size_cpu=8, lr=1e-2, device="cpu"
)  # 37 records: 5 steps an epoch
TIMES = ("seconds", "records_per_s", "gpu_memory_mb")


def outcome(folder: Path) -> tuple[Any, list[torch.Tensor]]:
    """Everything that must come out the same: all tensors, and all numbers but the
    times."""
    last, best = (
        read_checkpoint(folder / "checkpoints" / name)
        for name in ("last.ckpt", "best.ckpt")
    )
    moments = [
        value
        for entry in last["optimizer"]["state"].values()
        for value in entry.values()
    ]
    tensors = [*last["model"].values(), *best["model"].values(), *moments]
    history = pd.read_csv(folder / "history.csv").drop(columns=list(TIMES))
    state = {
        name: value
        for name, value in last["state"].items()
        if "seconds" not in name and name != "history"
    }
    return (state, best["epoch"], best["score"], history.to_csv()), tensors


def assert_same(left: Path, right: Path) -> None:
    (numbers, tensors), (other_numbers, other_tensors) = outcome(left), outcome(right)
    assert numbers == other_numbers
    assert len(tensors) == len(other_tensors)
    assert all(
        torch.equal(one, other)
        for one, other in zip(tensors, other_tensors, strict=True)
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    fit_fake(CONFIG, folder, norm="batch")
    return folder


def test_it_learns_and_writes_what_it_did(uninterrupted: Path) -> None:
    result = fit_fake(CONFIG, uninterrupted, norm="batch")
    assert (
        result.history["train_loss"].iloc[-1]
        < 0.4
        < 0.9
        < result.history["train_loss"].iloc[0]
    )
    assert result.best_score == result.history["macro_auroc"].max() > 0.9
    assert result.monitor == "macro_auroc"
    by_score_and_loss = result.history.sort_values(
        ["macro_auroc", "valid_loss"], ascending=[False, True]
    )
    assert result.best_epoch == by_score_and_loss["epoch"].iloc[0]
    assert list(result.history.columns) == [
        "epoch", "train_loss", "valid_loss", "macro_f1", "macro_auroc",
        "f1_NORM", "f1_MI", "f1_CD", "auroc_NORM", "auroc_MI", "auroc_CD",
        "lr", "seconds", "records_per_s", "gpu_memory_mb",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(
        pd.read_csv(uninterrupted / "history.csv"), result.history
    )
    assert result.history["lr"].tolist() == [
        learning_rate(step, 15, CONFIG) for step in (4, 9, 14)
    ]
    about = load_best(result.best_path, make_model("batch"))
    assert (about["epoch"], about["score"], about["classes"]) == (
        result.best_epoch,
        result.best_score,
        list(CLASSES),
    )
    assert sorted(file.name for file in (uninterrupted / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]


def test_a_training_that_is_done_is_not_done_again(uninterrupted: Path) -> None:
    before = {
        file: file.stat().st_mtime_ns
        for file in uninterrupted.rglob("*")
        if file.is_file()
    }
    result = fit_fake(CONFIG, uninterrupted, norm="batch", callbacks=(StopAt(1),))
    assert result.seconds == pytest.approx(result.history["seconds"].sum())
    assert before == {
        file: file.stat().st_mtime_ns
        for file in uninterrupted.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("stops", [[1], [5], [6], [9, 11], [2, 4, 7, 8, 13, 15]])
@pytest.mark.parametrize("every", [0, 1, 2])
def test_resumed_weights_are_the_same_bit_for_bit(
    tmp_path: Path, uninterrupted: Path, stops: list[int], every: int
) -> None:
    config = replace(CONFIG, checkpoint_every_steps=every)
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            fit_fake(config, tmp_path, norm="batch", callbacks=(StopAt(stop),))
        torch.manual_seed(stop)  # the state of the generator must not matter
    fit_fake(config, tmp_path, norm="batch")
    assert_same(tmp_path, uninterrupted)


def test_resume_with_accumulation_weights_and_early_stopping(tmp_path: Path) -> None:
    config = replace(
        CONFIG,
        epochs=9,
        batch_size_cpu=3,
        grad_accum_steps=2,
        early_stopping_patience=2,
        monitor="loss",
    )
    config = replace(config, lr=0.05, scheduler="none", checkpoint_every_steps=3)
    whole = fit_fake(config, tmp_path / "whole")
    for stop in (2, 5, 8, 14, 17):
        with pytest.raises(KeyboardInterrupt):
            fit_fake(config, tmp_path / "parts", callbacks=(StopAt(stop),))
    parts = fit_fake(config, tmp_path / "parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")
    assert len(whole.history) == whole.best_epoch + 2 < 9
    assert parts.best_score == whole.history["valid_loss"].min()


def kill_and_resume(
    tmp_path: Path, kills: int, seed: int, norm: str = "batch", **changed: Any
) -> None:
    """Start processes that kill themselves (-9) at a random moment, until the training
    is whole; compare the bits."""
    config = replace(CONFIG, epochs=8 * kills, checkpoint_every_steps=1, **changed)
    seconds = fit_fake(config, tmp_path / "whole", norm=norm).seconds
    moments, killed = random.Random(seed), 0
    errors = tmp_path / "errors.txt"
    while True:
        delay = moments.uniform(0, seconds / (kills + 1)) if killed < kills else -1
        process = fast_processes().Process(
            target=fit_and_be_killed,
            args=(config, tmp_path / "killed", delay, norm, errors),
        )
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert "Traceback" not in errors.read_text(encoding="utf-8")
        killed += 1
    assert killed >= kills // 2, "too few kills landed to show anything"
    assert_same(tmp_path / "whole", tmp_path / "killed")
    assert not list(tmp_path.rglob(".tmp-*"))


def test_killed_twice_at_random_moments(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, kills=2, seed=1)


@pytest.mark.slow
def test_killed_twice_while_fine_tuning(tmp_path: Path) -> None:
    kill_and_resume(
        tmp_path, kills=2, seed=3, norm="resnet1d", freeze="stem", layer_decay=0.5
    )


@pytest.mark.slow
def test_killed_often_at_random_moments(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, kills=KILLS, seed=2)


@pytest.mark.parametrize(
    ("freeze", "layer_decay"), [("", 0.5), ("stem", 1.0), ("body", 1.0), ("stem", 0.75)]
)
def test_fine_tuning_resumes_bit_for_bit(
    tmp_path: Path, freeze: Any, layer_decay: float
) -> None:
    config = replace(
        CONFIG, freeze=freeze, layer_decay=layer_decay, checkpoint_every_steps=2
    )
    fit_fake(config, tmp_path / "whole", norm="resnet1d")
    for stop in (1, 5, 6, 11):
        with pytest.raises(KeyboardInterrupt):
            fit_fake(
                config, tmp_path / "parts", norm="resnet1d", callbacks=(StopAt(stop),)
            )
        torch.manual_seed(stop)
    fit_fake(config, tmp_path / "parts", norm="resnet1d")
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_fine_tuning_otherwise_is_another_configuration(tmp_path: Path) -> None:
    fit_fake(CONFIG, tmp_path, norm="resnet1d")
    with pytest.raises(
        CheckpointError,
        match=r"freeze was .*, is 'body'; layer_decay was .*, is 0\.5",
    ):
        fit_fake(
            replace(CONFIG, freeze="body", layer_decay=0.5), tmp_path, norm="resnet1d"
        )


@pytest.mark.parametrize("norm_of", ["group"])
def test_accumulation_equals_one_big_batch(tmp_path: Path, norm_of: str) -> None:
    big = replace(CONFIG, batch_size_cpu=12)
    small = replace(
        CONFIG, batch_size_cpu=3, grad_accum_steps=4
    )  # 37 = 3 * 12 + 1: the last step is uneven
    results = [
        fit_fake(
            config, tmp_path / str(config.batch_size_cpu), norm=norm_of, dropout=0.0
        )
        for config in (big, small)
    ]
    for name in ("train_loss", "valid_loss"):
        np.testing.assert_allclose(
            results[0].history[name], results[1].history[name], atol=1e-6
        )
    left, right = (read_checkpoint(result.last_path)["model"] for result in results)
    assert max((left[name] - right[name]).abs().max().item() for name in left) < 1e-5


def test_the_first_step_by_hand(tmp_path: Path) -> None:
    """One epoch of one batch against PyTorch alone: dropout's seed, clipping, AdamW and
    rate."""
    from torch.nn import functional

    from ecgnb.data.loading.sampler import mix

    config = replace(
        CONFIG,
        epochs=1,
        batch_size_cpu=64,
        clip_norm=0.1,
        scheduler="none",
        warmup_fraction=0.0,
    )
    fit_fake(config, tmp_path, objective=FakeObjective(noise=0))
    train, _ = make_loaders(config)
    batch, model = next(train.epoch(0)), make_model()
    torch.manual_seed(mix(0, 0, 0, 0))
    functional.cross_entropy(model(batch.signal), batch.target).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    assert norm > 0.1
    decayed, kept = (
        [p for p in model.parameters() if p.ndim > 1],
        [p for p in model.parameters() if p.ndim == 1],
    )
    groups = [{"params": decayed}, {"params": kept, "weight_decay": 0.0}]
    torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.01).step()
    found = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["model"]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=0)


def test_another_configuration_model_or_number_of_batches(tmp_path: Path) -> None:
    fit_fake(replace(CONFIG, epochs=1), tmp_path)
    with pytest.raises(CheckpointError, match="epochs was 1, is 2"):
        fit_fake(replace(CONFIG, epochs=2), tmp_path)
    with pytest.raises(CheckpointError, match="run was 'fake', is 'other'"):
        fit_fake(replace(CONFIG, epochs=1), tmp_path, identity="other")
    with pytest.raises(
        CheckpointError, match="batches was 5, is 7; batch_size was 8, is 6"
    ):
        train, valid = make_loaders(replace(CONFIG, batch_size_cpu=6))
        config = replace(CONFIG, epochs=1)
        fit(
            make_model(),
            FakeObjective(),
            train,
            valid,
            config,
            tmp_path,
            classes=CLASSES,
            identity="fake",
        )
    (tmp_path / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"best\.ckpt is missing"):
        fit_fake(replace(CONFIG, epochs=1), tmp_path)


def test_a_checkpoint_of_another_model_or_cut_in_half(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_fake(CONFIG, tmp_path, callbacks=(StopAt(7),))
    with pytest.raises(CheckpointError, match="of another model"):
        fit_fake(CONFIG, tmp_path, norm="batch")
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged"):
        fit_fake(CONFIG, tmp_path)


def test_the_history_follows_the_checkpoint(
    tmp_path: Path, uninterrupted: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_fake(CONFIG, tmp_path, norm="batch", callbacks=(StopAt(11),))
    (tmp_path / "history.csv").write_text("nonsense", encoding="utf-8")
    (tmp_path / "checkpoints" / f".tmp-{os.getpid()}-00c0ffee-last.ckpt").touch()
    fit_fake(CONFIG, tmp_path, norm="batch")
    assert_same(tmp_path, uninterrupted)
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_score_at_its_ceiling_neither_keeps_an_early_epoch_nor_stops_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "ecgnb.training.loop.validation_scores", lambda *_, **__: {"macro_auroc": 1.0}
    )
    config = replace(CONFIG, epochs=6, early_stopping_patience=1)
    history = fit_fake(config, tmp_path / "falling").history
    assert history["valid_loss"].is_monotonic_decreasing and len(history) == 6
    about = load_best(tmp_path / "falling" / "checkpoints" / "best.ckpt", make_model())
    assert about["epoch"] == 6 and about["loss"] == history["valid_loss"].min()
    caplog.set_level("INFO", "ecgnb")
    # A rate so high that the loss rises after a few epochs.
    config = replace(config, epochs=30, lr=0.3, early_stopping_patience=2)
    result = fit_fake(config, tmp_path / "rising")
    losses = result.history["valid_loss"]
    assert result.best_epoch == losses.argmin() + 1 == len(losses) - 2 < 28
    line = "neither macro_auroc nor the validation loss improved for 2 epochs"
    assert line in caplog.text


def test_dry_run_is_a_few_batches(tmp_path: Path) -> None:
    seen: list[int] = []

    class Count(Callback):
        def on_step_end(self, training: Any) -> None:
            seen.append(training.state.step)

    config = replace(CONFIG, dry_run=True, batch_size_cpu=2, grad_accum_steps=2)
    result = fit_fake(config, tmp_path, callbacks=(Count(),))
    assert seen == [1, 2, 3]
    assert len(result.history) == 1 and result.best_path.is_file()


def test_several_labels_and_an_undefined_score(tmp_path: Path) -> None:
    store = FakeStore()
    targets = np.eye(3, dtype=np.float32)[store.labels]
    targets[:, 2] = 0  # no record of this class: its AUROC is undefined
    rows = np.arange(50)
    train = Loader(store, rows[:37], targets[:37], batch_size=8, shuffle=True)
    valid = Loader(store, rows[37:], targets[37:], batch_size=8)
    config = replace(CONFIG, monitor="macro_auroc")
    result = fit(
        make_model(),
        FakeObjective(),
        train,
        valid,
        config,
        tmp_path / "a",
        classes=CLASSES,
        task="multilabel",
    )
    assert result.history["auroc_CD"].isna().all()
    assert result.best_score == result.history["macro_auroc"].max() > 0.9
    none = Loader(store, rows[37:], np.zeros_like(targets[37:]), batch_size=8)
    result = fit(
        make_model(),
        FakeObjective(),
        train,
        none,
        config,
        tmp_path / "b",
        classes=CLASSES,
        task="multilabel",
    )
    # Without a defined score the loss decides.
    assert result.best_epoch == result.history["valid_loss"].argmin() + 1
    assert np.isnan(result.best_score) and result.best_path.is_file()


def test_objectives_without_labels_are_watched_by_their_loss(tmp_path: Path) -> None:
    train, valid = make_loaders(CONFIG)
    with pytest.raises(ConfigError, match="needs the names of the classes"):
        fit(
            make_model(),
            FakeObjective(),
            train,
            valid,
            replace(CONFIG, monitor="macro_f1"),
            tmp_path,
        )
    result = fit(
        make_model(),
        FakeObjective(),
        train,
        valid,
        replace(CONFIG, monitor="auto"),
        tmp_path,
    )
    assert result.best_score == result.history["valid_loss"].min()
    assert "macro_f1" not in result.history


def test_loaders_of_another_rank_are_refused(tmp_path: Path) -> None:
    train, valid = make_loaders(CONFIG, rank=1, world_size=2)
    with pytest.raises(
        ConfigError, match=r"\('cpu', 1, 2\), but the training runs on \('cpu', 0, 1\)"
    ):
        fit(
            make_model(),
            FakeObjective(),
            train,
            valid,
            CONFIG,
            tmp_path,
            classes=CLASSES,
        )


def test_bfloat16_trains(tmp_path: Path) -> None:
    from ecgnb.training.devices import cpu_has_bf16

    if not cpu_has_bf16():
        pytest.skip("this CPU has no bfloat16 instructions")
    result = fit_fake(replace(CONFIG, mixed_precision="bf16"), tmp_path)
    assert result.history["train_loss"].iloc[-1] < 0.5
    assert all(
        value.dtype == torch.float32
        for value in read_checkpoint(result.last_path)["model"].values()
    )
