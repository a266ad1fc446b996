"""Stage 4: training."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import fingerprint, sha256_file, write_json
from ecgnb.core.progress import say
from ecgnb.data.labels.targets import encode
from ecgnb.run.run import Run, read_dict
from ecgnb.run.session import find_run, log_to
from ecgnb.stages.split import split_inputs

if TYPE_CHECKING:
    from ecgnb.deploy.bundle import Bundle

#: Tells what the checkpoints beside it were trained from.
MADE_FROM = "made_from.json"


def train(run: Run, when: str | None = None) -> pd.DataFrame | None:
    """Train the run's model; a training that was interrupted goes on, one that is done
    is not done again.

    Args:
        run: with its splits made.
        when: train only when the run's profile is this one (the notebook has a cell for
            each).

    Returns:
        The history, a row an epoch; None when ``when`` is another profile.
    """
    if when is not None and when != run.config.profile:
        say(f"PROFILE is {run.config.profile!r}: the {when} training is not asked for.")
        return None
    inputs = training_inputs(run)
    if not run.is_done("train", inputs):
        from ecgnb.training.launch import launch

        launch(train_rank, run.config.training, run.folder.as_posix(), inputs)
    return run.history


def train_rank(folder: str, inputs: dict[str, Any]) -> None:
    """Train in this process, which is one of several when the run has more than one
    device; rank 0 notes the end.
    """
    from ecgnb.training.devices import make_fabric
    from ecgnb.training.loop import fit

    run = find_run(folder)
    log_to(run)
    config = run.config.training
    fabric = make_fabric(config)
    place: dict[str, Any] = {
        "device": fabric.device,
        "rank": fabric.global_rank,
        "world_size": fabric.world_size,
    }
    identity = fingerprint(inputs)
    if fabric.is_global_zero:
        set_aside(run, inputs)
    fabric.barrier()
    result = fit(
        build_run_model(run),
        build_objective(run),
        build_loader(run, "train", shuffle=True, **place),
        build_loader(run, "valid", **place),
        config,
        Path(folder),
        classes=run.classes,
        task=run.task,
        identity=identity,
        fabric=fabric,
    )
    if fabric.is_global_zero:
        made = ("checkpoints/best.ckpt", "history.csv")
        found = {"best_epoch": result.best_epoch, "best_score": result.best_score}
        run.finish("train", inputs, files=made, identity=identity, **found)
    fabric.barrier()  # nobody goes on before the stage is noted as done


def set_aside(run: Run, inputs: dict[str, Any]) -> None:
    """Keep the checkpoints of a training from other data under another name, and say
    what changed.

    The configuration names the run, so only recordings, labels or splits can differ; a
    training from them starts anew.
    """
    folder = run.path("checkpoints")
    file = folder / MADE_FROM
    before = (
        read_dict(file) or inputs
    )  # without it, `fit` compares what stands in the checkpoints
    changed = [
        name
        for name in inputs
        if fingerprint(before.get(name)) != fingerprint(inputs[name])
    ]
    if changed:
        kept = folder.with_name(f"checkpoints-{fingerprint(before, 8)}")
        say(
            f"{' and '.join(changed)} changed since the last training; its checkpoints are kept in {kept.name}."
        )
        if kept.exists():
            shutil.rmtree(kept)
        folder.rename(kept)
    write_json(file, inputs)


def training_inputs(run: Run) -> dict[str, Any]:
    """Return everything that decides which weights come out."""
    run.require("split")
    return {
        "split": run.require_current("split", split_inputs(run))["fingerprint"],
        "store": run.require("prepare")["content"],
        "labels": fingerprint(run.records["label"].tolist()),
        "classes": run.classes,
        "task": run.task,
        "model": {
            **dataclasses.asdict(run.config.model),
            **_start_weights(run.config.model.start_from),
        },
        "transforms": dataclasses.asdict(run.config.transforms),
        "training": run.config.training.identity(),
    }


def _start_weights(start_from: str) -> dict[str, str]:
    """Return the checksum of the weights that a training begins with, where there are
    any.
    """
    if not start_from:
        return {}
    from ecgnb.hub.huggingface import fetch, is_hub_name

    place = fetch(start_from).path if is_hub_name(start_from) else Path(start_from)
    weights = place if place.is_file() else place / "model.safetensors"
    if not weights.is_file():
        raise ConfigError(
            f"START_FROM is {start_from!r}, which is no checkpoint and holds no {weights.name}. Give the folder of a "
            "bundle or of a port, or the checkpoint of a foundation model."
        )
    return {"start_weights": sha256_file(weights)}


def build_run_model(run: Run, tell: Callable[[str], None] = say) -> Any:
    """Build the run's model with weights from its seed; ``tell`` is told how a model to
    start from differs.
    """
    import torch

    from ecgnb.models import build_model
    from ecgnb.models.base import Words

    store, config = run.store, run.config.model
    if decided := sorted(set(config.model_options) & set(Words.__annotations__)):
        raise ConfigError(
            f"MODEL_OPTIONS names {', '.join(decided)}, which the recordings decide. Leave it out."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.config.training.seed)
        if config.start_from:
            return start_model(run, tell)
        return build_model(
            config.model,
            n_leads=store.n_leads,
            n_samples=store.n_samples,
            fs=store.fs,
            n_classes=len(run.classes),
            leads=store.leads,
            task=run.task,
            **config.model_options,
        )


def start_model(run: Run, tell: Callable[[str], None] = say) -> Any:
    """Load the model that the run's training begins with; its classifier is new where
    the classes are others.

    Raises:
        ConfigError: it was made for other leads, another length or another rate than
            the run's recordings have.
        CheckpointError: the folder holds no bundle, or a damaged one.
    """
    from ecgnb.deploy.opening import open_bundle

    folder = run.config.model.start_from
    bundle = open_bundle(folder)
    fixed = (
        ("TARGET_FS", "LEADS")
        if bundle.model.any_length
        else ("TARGET_FS", "TARGET_SAMPLES", "LEADS")
    )
    wrong = _differences(run, bundle, fixed)
    if wrong:
        raise ConfigError(
            f"START_FROM={folder!r} does not fit the recordings: {'; '.join(wrong)}. Prepare them so."
        )
    for difference in _differences(
        run, bundle, ("RESAMPLING", "FILTERS", "TRANSFORMS")
    ):
        tell(f"The model in {folder} has learnt with other {difference}.")
    bundle.model.n_samples = run.store.n_samples
    if (bundle.classes, bundle.task) != (tuple(run.classes), run.task):
        old = (
            f"in place of the one for {', '.join(bundle.classes)}"
            if bundle.classes
            else "which it had none of"
        )
        tell(f"The model gets a new classifier for {', '.join(run.classes)}, {old}.")
        bundle.model.reset_classifier(len(run.classes))
        bundle.model.task = run.task
    return bundle.model


def _differences(run: Run, bundle: Bundle, names: tuple[str, ...]) -> list[str]:
    """Tell, a line each, where the run's recordings are not what the bundle's model was
    trained with.
    """
    from ecgnb.transforms.pipeline import build_pipeline

    own, prepare = run.config.prepare, bundle.prepare
    pairs: dict[str, tuple[Any, Any]] = {
        "TARGET_FS": (prepare.target_fs, own.target_fs),
        "TARGET_SAMPLES": (prepare.target_samples, own.target_samples),
        "LEADS": (prepare.leads, tuple(run.store.leads)),
        "RESAMPLING": (prepare.resampling, own.resampling),
        "FILTERS": (prepare.filters, own.filters),
        "TRANSFORMS": (
            bundle.transforms,
            build_pipeline(run.config.transforms.transforms),
        ),
    }
    return [
        f"{name}: {pairs[name][0]!r}, the run has {pairs[name][1]!r}"
        for name in names
        if pairs[name][0] != pairs[name][1]
    ]


def build_objective(run: Run) -> Any:
    """Build the run's objective, with class weights from the whole training split."""
    from ecgnb.objectives.class_weights import class_weights
    from ecgnb.objectives.supervised import Supervised
    from ecgnb.transforms.pipeline import build_pipeline

    config, training = run.config, run.config.training.for_task(run.task)
    targets = targets_of(run, run.splits.train)
    return Supervised(
        run.task,
        class_weights=class_weights(
            targets, len(run.classes), run.task, training.class_weights
        ),
        transforms=build_pipeline(
            [*config.transforms.transforms, *config.transforms.augment]
        ),
        label_smoothing=training.label_smoothing,
        fs=run.store.fs,
    )


def build_loader(run: Run, part: str, *, shuffle: bool = False, **place: Any) -> Any:
    """Build the loader of one split ("train", "valid", "test"); ``place`` gives device,
    rank and world size.
    """
    from ecgnb.data.loading.loaders import Loader
    from ecgnb.data.loading.sampling import balanced_weights

    rows = getattr(run.splits, part)
    targets = targets_of(run, rows)
    config = run.config.training
    weighted = shuffle and config.sampler == "weighted"
    return Loader(
        run.store,
        rows,
        targets,
        batch_size=config.batch_size(place.get("device", "cpu")),
        seed=config.seed,
        shuffle=shuffle and not weighted,
        weights=balanced_weights(targets) if weighted else None,
        **place,
    )


def targets_of(run: Run, rows: np.ndarray) -> np.ndarray:
    """Return the targets of some rows of the store: int64 ``[n]``, or float32 ``[n,
    n_classes]`` for multilabel.
    """
    records = run.records.iloc[rows]
    return encode(records.set_index("record_id")["label"], run.classes, run.task)
