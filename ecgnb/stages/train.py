"""Stage 4: training."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import fingerprint, read_sealed, sha256_file, write_sealed
from ecgnb.core.progress import say
from ecgnb.core.transient import refuse_transient
from ecgnb.data.loading.loaders import Loader
from ecgnb.data.loading.sampler import balanced_weights
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.opening import open_bundle
from ecgnb.hub.huggingface import fetch, is_hub_name
from ecgnb.models import build_model
from ecgnb.models.base import Words
from ecgnb.objectives import OBJECTIVES, ObjectiveContext, build_objective
from ecgnb.objectives.base import Objective
from ecgnb.run.project import input_path
from ecgnb.run.run import Run
from ecgnb.run.session import find_run, log_to, use_run
from ecgnb.stages.prepare import require_current_preparation
from ecgnb.stages.split import patient_groups, split_inputs, targets_of
from ecgnb.training.callbacks import Callback, build_callbacks
from ecgnb.training.devices import is_first_process, make_fabric
from ecgnb.training.launch import launch, on_rank_zero
from ecgnb.training.loop import fit
from ecgnb.transforms.pipeline import build_pipeline

#: Inputs of the training whose checkpoints are beside it.
MADE_FROM = "made_from.json"


def train(
    run: Run, when: str | None = None, callbacks: Sequence[Callback | str] = ()
) -> pd.DataFrame | None:
    """Train the run's model; an interrupted training resumes, a finished one is not
    repeated.

    Args:
        run: with its splits made.
        when: train only when the run's profile is this one (the notebook has a cell for
            each).
        callbacks: observers of the training, instances of
            `ecgnb.training.callbacks.Callback` or registered names, besides those of
            the parameter CALLBACKS. With several DEVICES each instance is copied to
            another process, so its results belong into files.

    Returns:
        The history, one row per epoch; None when ``when`` is another profile.
    """
    if when is not None and when != run.config.profile:
        say(f"Skipped: this cell trains PROFILE {when!r}, not {run.config.profile!r}.")
        return None
    use_run(run)
    run.require("split")  # names the first stage that is missing
    require_current_preparation(run)
    inputs = training_inputs(run)
    config = run.config.training
    # Classes and instances, not names: another process imports the modules that
    # define (and register) them.
    objective = OBJECTIVES.get(config.objective)
    with contextlib.ExitStack() as stack:
        is_needed = False

        def begin() -> None:
            nonlocal is_needed
            is_needed = stack.enter_context(run.work("train", inputs))

        # The other processes of torchrun wait for the one that has the lock.
        on_rank_zero(begin, config, run.folder)
        if not is_first_process():
            is_needed = not run.is_done("train", inputs)
        if is_needed:
            observers = build_callbacks([*config.callbacks, *callbacks])
            launch(train_rank, config, str(run.folder), inputs, objective, observers)
    return run.history


def train_rank(
    folder: str,
    inputs: dict[str, Any],
    objective_class: type[Objective],
    callbacks: list[Callback],
) -> None:
    """Train in this process, one of several when the run has more than one device;
    rank 0 marks the stage as done.
    """
    run = find_run(folder)
    log_to(run)
    config = run.config.training
    # Without it, several processes wait for gradients that the loss does not give.
    fabric = make_fabric(
        config, find_unused_parameters=not objective_class.uses_all_parameters
    )
    process: dict[str, Any] = {
        "device": fabric.device,
        "rank": fabric.global_rank,
        "world_size": fabric.world_size,
    }
    identity = fingerprint(inputs)  # in the checkpoints: `fit` resumes no others
    if fabric.is_global_zero:
        set_aside(run, inputs)
    fabric.barrier()  # no process looks for checkpoints before they are moved
    model = build_run_model(run)
    result = fit(
        model,
        build_run_objective(run, model),
        build_loader(run, "train", shuffle=True, **process),
        build_loader(run, "valid", **process),
        config,
        Path(folder),
        classes=run.classes,
        task=run.task,
        identity=identity,
        fabric=fabric,
        run=run,
        callbacks=callbacks,
    )
    if fabric.is_global_zero:
        run.finish(
            "train",
            inputs,
            files=("checkpoints/best.ckpt", "history.csv"),
            identity=identity,
            best_epoch=result.best_epoch,
            best_score=result.best_score,
            monitor=result.monitor,
        )
    fabric.barrier()  # all processes return after the stage is marked as done


def set_aside(run: Run, inputs: dict[str, Any]) -> None:
    """Rename the checkpoints of a training from other data, and print what changed.

    The configuration names the run, so only recordings, labels or splits can differ; a
    training from them starts anew.
    """
    folder = run.path("checkpoints")
    file = folder / MADE_FROM
    try:
        before = read_sealed(file)
    except (OSError, ValueError) as error:  # missing or damaged
        refuse_transient(error, file)
        before = inputs  # `fit` compares the identity in the checkpoints
    changed = [
        name
        for name, value in inputs.items()
        if fingerprint(before.get(name)) != fingerprint(value)
    ]
    if changed:
        kept = folder.with_name(f"checkpoints-{fingerprint(before, 8)}")
        say(
            f"{' and '.join(changed)} changed since the last training; its checkpoints "
            f"are kept in {kept.name}."
        )
        if kept.exists():  # the data changed back and forth
            shutil.rmtree(kept)
        folder.rename(kept)
    write_sealed(file, inputs)


def training_inputs(run: Run) -> dict[str, Any]:
    """Return everything that decides which weights come out."""
    run.require("split")
    split = split_inputs(run)
    model = dataclasses.asdict(run.config.model)
    if run.config.model.start_from:  # another file may have the same name later
        start_from = input_path(run.config.model.start_from)
        model["start_weights"] = _start_weights_sha256(start_from)
    return {
        "split": run.require_current("split", split)["fingerprint"],
        "store": split["store"],
        "labels": split["labels"],
        "classes": run.classes,
        "task": run.task,
        "model": model,
        "transforms": dataclasses.asdict(run.config.transforms),
        "training": run.config.training.identity(),
    }


def _start_weights_sha256(start_from: str) -> str:
    path = fetch(start_from).path if is_hub_name(start_from) else Path(start_from)
    weights = path if path.is_file() else path / "model.safetensors"
    if not weights.is_file():
        raise ConfigError(
            f"START_FROM is {start_from!r}, which is no checkpoint and holds no "
            f"{weights.name}. Use the folder of a bundle or of a port, or the "
            "checkpoint of a foundation model."
        )
    return sha256_file(weights)


def build_run_model(run: Run, report: Callable[[str], None] = say) -> Any:
    """Build the run's model with weights from its seed.

    Args:
        run: with its recordings prepared.
        report: receives a line for each difference to the model of START_FROM.
    """
    store, config = run.store, run.config.model
    fixed = sorted(set(config.model_options) & set(Words.__annotations__))
    if fixed:
        raise ConfigError(
            f"MODEL_OPTIONS names {', '.join(fixed)}, which the recordings decide. "
            "Leave it out."
        )
    with torch.random.fork_rng(devices=[]):  # the caller's random state is kept
        torch.manual_seed(run.config.training.seed)
        if config.start_from:
            return start_model(run, report)
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


def start_model(run: Run, report: Callable[[str], None] = say) -> Any:
    """Load the model of START_FROM; its classifier is new for other classes.

    Raises:
        ConfigError: it was made for other leads, another length or another rate than
            the run's recordings have.
        CheckpointError: the folder contains no bundle, or a damaged one.
    """
    folder = run.config.model.start_from
    bundle = open_bundle(input_path(folder))
    fixed = ["TARGET_FS", "LEADS"]
    if not bundle.model.any_length:  # it takes one length
        fixed.insert(1, "TARGET_SAMPLES")
    differences = _differences(run, bundle)
    wrong = [differences[name] for name in fixed if name in differences]
    if wrong:
        raise ConfigError(
            f"START_FROM={folder!r} does not fit the recordings: {'; '.join(wrong)}. "
            "Prepare them so."
        )
    for name in ("RESAMPLING", "FILTERS", "TRANSFORMS"):
        if name in differences:
            report(f"The model in {folder} was trained with other {differences[name]}.")
    model = bundle.model
    model.n_samples = run.store.n_samples  # a model of any length takes them
    if (bundle.classes, bundle.task) != (run.classes, run.task):
        old = "it had none before"
        if bundle.classes:
            old = f"instead of the one for {', '.join(bundle.classes)}"
        report(f"The model gets a new classifier for {', '.join(run.classes)}, {old}.")
        model.reset_classifier(len(run.classes))
        model.task = run.task
    return model


def _differences(run: Run, bundle: Bundle) -> dict[str, str]:
    """Describe by parameter how the run's recordings differ from those of a bundle."""
    # LEADS may be empty: the leads are then those of the data set.
    prepare = dataclasses.replace(run.config.prepare, leads=run.store.leads)
    transforms = build_pipeline(run.config.transforms.transforms)
    pairs: dict[str, Any] = {"transforms": (bundle.transforms, transforms)}
    for name in ("target_fs", "target_samples", "leads", "resampling", "filters"):
        pairs[name] = (getattr(bundle.prepare, name), getattr(prepare, name))
    differences = {}
    for name, (expected, actual) in pairs.items():
        if expected != actual:
            text = f"{name.upper()}: {expected!r}, the run has {actual!r}"
            differences[name.upper()] = text
    return differences


def build_run_objective(run: Run, model: Any) -> Objective:
    """Build the run's objective for a model with its initial weights."""
    config = run.config.training.for_task(run.task)
    transforms = run.config.transforms
    context = ObjectiveContext(
        model=model,
        task=run.task,
        classes=run.classes,
        targets=targets_of(run, run.records.iloc[run.splits.train]),
        transforms=build_pipeline([*transforms.transforms, *transforms.augment]),
        fs=run.store.fs,
        config=config,
        seed=config.seed,
    )
    return build_objective(config.objective, config.objective_options, context)


def build_loader(run: Run, part: str, *, shuffle: bool = False, **process: Any) -> Any:
    """Build the loader of one split ("train", "valid", "test").

    Args:
        run: with its splits made.
        part: name of the split.
        shuffle: use the sampler of the configuration, for training.
        **process: ``device``, ``rank`` and ``world_size``.
    """
    rows = getattr(run.splits, part)
    records = run.records.iloc[rows]
    targets = targets_of(run, records)
    config = run.config.training
    is_weighted = shuffle and config.sampler == "weighted"
    patients = None
    if config.sampler == "patient":
        patients = patient_groups(records)
    return Loader(
        run.store,
        rows,
        targets,
        batch_size=config.batch_size(process.get("device", "cpu")),
        seed=config.seed,
        shuffle=shuffle and not is_weighted,  # weighted: drawn with replacement
        weights=balanced_weights(targets) if is_weighted else None,
        patients=patients,
        records_per_patient=config.records_per_patient,
        window_samples=config.window_samples,
        windows_per_record=config.windows_per_record,
        **process,
    )
