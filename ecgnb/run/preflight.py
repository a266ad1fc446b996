"""Preflight: checks of data, labels, model, disk, GPU and versions before a run.

A check is a function of the run that yields verdicts: status (pass, warn, fail),
finding, and what to do.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ecgnb.core.compatibility import (
    Verdict,
    installed_versions,
    judge_extras,
    judge_versions,
)
from ecgnb.core.environment import describe_gpus
from ecgnb.core.errors import (
    CheckpointError,
    ConfigError,
    EcgnbError,
    StoreError,
    first_few,
)
from ecgnb.data.catalog import find_records
from ecgnb.data.config import DataConfig
from ecgnb.data.labels.assign import (
    DEMO_RECORDS,
    classes_in,
    columns_of,
    label_file,
    resolve,
)
from ecgnb.data.labels.label_cells import UNKNOWN
from ecgnb.data.labels.mapping_file import read_mapping
from ecgnb.data.manifest import as_manifest
from ecgnb.data.readers.base import reader_for_suffix, recording_suffixes
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.data.splits.copies import (
    find_copies,
    too_short_for_copies,
    with_copies,
)
from ecgnb.data.splits.leakage import describe_leaks, find_leakage
from ecgnb.data.store.losses import expected_losses
from ecgnb.data.store.rows import limit_records, with_leads
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.opening import open_bundle
from ecgnb.models import build_model
from ecgnb.objectives import check_options
from ecgnb.run.project import clone_of, input_path, open_notebook, package_root
from ecgnb.run.run import Run
from ecgnb.run.session import use_run
from ecgnb.training.callbacks import build_callbacks
from ecgnb.training.freezing import freeze
from ecgnb.transforms.pipeline import build_pipeline


def preflight(run: Run) -> pd.DataFrame:
    """Check code, data, labels, model, store, splits, GPU, disk, versions and extras.

    Returns:
        One row per finding: ``check, status (pass | warn | fail), finding,
        what_to_do``.

    Raises:
        EcgnbError: a check failed; the message lists the failures and what to do.
    """
    use_run(run)
    manifest = _expected_manifest(run)
    leads = _expected_leads(run, manifest)
    checks: dict[str, Callable[[Run], Iterable[Verdict]]] = {
        "code": check_code,
        "data": check_data,
        "labels": check_labels,
        "preparation": lambda run: check_preparation(run, manifest),
        "model": lambda run: check_model(run, leads),
        "store": check_store,
        "splits": check_splits,
        "GPU": check_gpu,
        "disk": lambda run: check_disk(run, leads),
        "versions": lambda _: judge_versions(installed_versions()),
        "extras": lambda _: [judge_extras(installed_versions())],
    }
    rows, failures = [], []
    for name, check in checks.items():
        for verdict in check(run):
            rows.append((name, *verdict))
            if verdict.status == "fail":
                failures.append(f"- {name}: {verdict.finding} {verdict.what_to_do}")
    if failures:
        raise EcgnbError(
            "The preflight found what would stop this run:\n" + "\n".join(failures)
        )
    return pd.DataFrame(rows, columns=["check", "status", "finding", "what_to_do"])


def _expected_manifest(run: Run) -> pd.DataFrame | None:
    """Return the recordings that the run will prepare, as far as they are known before
    its stages; None where the data set cannot be read, which other checks report.
    """
    data = run.config.data
    if run.record("cohort"):
        with contextlib.suppress(EcgnbError):  # its files were changed
            return run.manifest
    if data.name == "demo":
        facts = {"leads": "|".join(STANDARD_12), "fs": 500.0, "n_samples": 5000}
        n_records = data.preprocess_limit or DEMO_RECORDS
        columns = {"dataset": "demo", "record_id": "", "path": "", **facts}
        return as_manifest([columns] * n_records)
    if not data.dataset_dir:
        return None
    try:
        manifest = find_records(
            data.name,
            resolve(data.dataset_dir, run.root),
            label_set=data.label_set or None,
            target_fs=run.config.prepare.target_fs,
        )
    except (EcgnbError, OSError):
        return None
    return limit_records(manifest, data.preprocess_limit)


def _expected_leads(run: Run, manifest: pd.DataFrame | None) -> tuple[str, ...]:
    """Return the leads that will be stored: LEADS, or the data set's own."""
    if manifest is None:
        return run.config.prepare.leads or STANDARD_12
    try:
        return with_leads(manifest, run.config.prepare).leads
    except StoreError:  # `check_preparation` reports it
        return STANDARD_12


def check_preparation(run: Run, manifest: pd.DataFrame | None) -> list[Verdict]:
    """Check what the preparation will lose of the recordings; see
    `ecgnb.data.store.losses`.
    """
    if manifest is None:
        return [Verdict("pass", "not known before the data set is there")]
    try:
        return expected_losses(manifest, run.config.prepare)
    except StoreError as error:
        return [Verdict("fail", str(error))]


def check_code(run: Run) -> Iterator[Verdict]:
    """Check that the package that runs and the notebook are of one clone."""
    package = package_root()
    notebook = open_notebook() or Path.cwd()  # Jupyter starts a kernel beside it
    clone = clone_of(notebook.resolve())
    if clone is None or clone == package:
        yield Verdict("pass", f"the package in {package}; results in {run.root}")
        return
    yield Verdict(
        "warn",
        f"The notebook is of the clone {clone}, but the package that runs is the one "
        f"in {package}: another version of the code may run than you read.",
        f"Start Jupyter or `ecgnb` with the Python of {clone}, or install that clone: "
        "pip install --editable FOLDER.",
    )


def check_data(run: Run) -> Iterator[Verdict]:
    """Check that the data folder exists and contains recordings."""
    data = run.config.data
    if data.name == "demo":
        n_records = data.preprocess_limit or DEMO_RECORDS
        yield Verdict("pass", f"synthetic demo cohort, {n_records} recordings")
        return
    folder = resolve(data.dataset_dir, run.root)
    if not data.dataset_dir or not folder.is_dir():
        yield Verdict(
            "fail",
            f"DATASET_DIR is {data.dataset_dir!r}, which is no folder ({folder}).",
            "Give the folder of recordings.",
        )
    elif not os.access(folder, os.R_OK | os.X_OK):  # to list it and open files in it
        yield Verdict("fail", f"{folder} cannot be read.", "Change its permissions.")
    elif (first := next(_recordings(folder), None)) is None:
        yield Verdict(
            "fail",
            f"{folder} holds no recordings.",
            f"Readable are files with {', '.join(recording_suffixes())}.",
        )
    else:
        yield Verdict("pass", f"{folder} holds recordings (such as {first.name})")


def check_labels(run: Run) -> Iterator[Verdict]:
    """Check the label file, and its coverage once the cohort is loaded."""
    data = run.config.data
    if cohort := run.record("cohort"):
        n_labelled = cohort["results"]["n_labelled"]
        n_found = cohort["results"]["n_found"]
        share = n_labelled / max(n_found, 1)
        yield _warn_if(
            share <= 0.5,
            f"{n_labelled} of {n_found} recordings have a label ({share:.0%})",
            "Check the coverage table of the cohort and the label file.",
        )
        yield from _check_classes(run, run.manifest["label"], "recordings")
    elif data.name == "demo":
        yield Verdict("pass", "labels of the demo cohort")
    elif data.name != "folder" and not data.mapping_csv:
        yield Verdict("pass", f"from the files of {data.name}")
    else:
        yield _check_label_file(data, run.root)


def _check_classes(run: Run, labels: pd.Series, records: str) -> Iterator[Verdict]:
    """Warn of classes that none of the ``labels`` contains."""
    present = set("|".join(labels.unique()).split("|"))
    empty = [name for name in run.classes if name not in present]
    if empty:
        yield Verdict(
            "warn",
            f"no {records} of {first_few(empty)}: such an output learns nothing",
            "Give the classes that occur with LABEL_ORDER, raise PREPROCESS_LIMIT, or "
            "take another SPLIT_SEED.",
        )


def _check_label_file(data: DataConfig, root: Path) -> Verdict:
    try:
        file = label_file(data, root, resolve(data.dataset_dir, root))
        mapping = read_mapping(file, columns_of(data), data.label_order)
    except EcgnbError as error:
        return Verdict("fail", str(error))
    classes = data.label_order or data.one_hot_columns or classes_in(mapping)
    finding = f"{file.name}, {len(mapping)} rows, classes {first_few(classes)}"
    n_unknown = int((mapping["mapped_label"] == UNKNOWN).sum())
    if n_unknown:
        finding += f"; {n_unknown} rows state no label"
    return _warn_if(n_unknown > 0, finding, "Their recordings are left out.")


def check_model(run: Run, leads: Sequence[str] = STANDARD_12) -> Iterator[Verdict]:
    """Check that model, transforms, objective and callbacks can be built for the leads
    that will be stored.
    """
    model, training = run.config.model, run.config.training
    try:
        check_options(training.objective, training.objective_options)
        build_callbacks(training.callbacks)
        steps = _build_transforms(run, len(leads))
        if model.start_from:
            bundle = open_bundle(input_path(model.start_from))
            yield from _check_start(run, bundle, leads)
        else:
            freeze(_build_without_memory(run, len(leads)), training.freeze)
    except (ConfigError, CheckpointError) as error:
        yield Verdict("fail", str(error), "Correct that parameter.")
        return
    if training.freeze and not model.start_from:
        yield Verdict(
            "warn",
            f"FREEZE={training.freeze!r} without START_FROM freezes random weights.",
            "Give START_FROM, or leave FREEZE out.",
        )
    yield Verdict("pass", f"{model.start_from or model.model} behind {steps}")


def _build_transforms(run: Run, n_leads: int) -> str:
    """Apply the transforms to zeros; return their names."""
    prepare, transforms = run.config.prepare, run.config.transforms
    pipeline = build_pipeline([*transforms.transforms, *transforms.augment])
    signal = torch.zeros(1, n_leads, prepare.target_samples)  # one record
    keys = torch.zeros(1, dtype=torch.int64)
    pipeline(signal, fs=prepare.target_fs, keys=keys)
    return ", ".join(step.name for step in pipeline) or "no transforms"


def _build_without_memory(run: Run, n_leads: int) -> torch.nn.Module:
    prepare, model = run.config.prepare, run.config.model
    words: dict[str, Any] = {
        "n_leads": n_leads,
        "n_samples": prepare.target_samples,
        "fs": prepare.target_fs,
        "n_classes": 2,  # any number: the labels are not read yet
    }
    with torch.device("meta"):  # shapes without numbers, however large the model
        return build_model(model.model, **{**words, **model.model_options})


def _check_start(run: Run, bundle: Bundle, leads: Sequence[str]) -> Iterator[Verdict]:
    """Refuse recordings that the model of START_FROM cannot take; warn if it was
    trained with another preparation.
    """
    prepare, trained = run.config.prepare, bundle.prepare
    differences: dict[str, Any] = {}
    for name in ("target_fs", "target_samples", "crop", "resampling", "filters"):
        value = getattr(trained, name)
        if value != getattr(prepare, name):
            differences[name.upper()] = value
    if build_pipeline(run.config.transforms.transforms) != bundle.transforms:
        differences["TRANSFORMS"] = bundle.transforms.specs()
    problem = f"START_FROM={run.config.model.start_from!r} was trained otherwise"
    options = [f"-p {name} {_as_text(value)}" for name, value in differences.items()]
    advice = f"give {' '.join(options)}."
    if trained.leads and tuple(leads) != trained.leads:
        raise ConfigError(
            f"{problem}, on the leads {', '.join(trained.leads)}; the recordings will "
            f"have {', '.join(leads)}. Set LEADS='{','.join(trained.leads)}'."
        )
    other_length = "TARGET_SAMPLES" in differences and not bundle.model.any_length
    # A network is tied to its rate and length. Other differences, CROP too, cost
    # accuracy at the start and are trained away; predictions of the new model are
    # prepared as its own training was.
    if "TARGET_FS" in differences or other_length:
        raise ConfigError(f"{problem}: {advice}")
    if differences:
        yield Verdict("warn", f"{problem}.", f"To prepare as in its training, {advice}")


def _as_text(value: Any) -> str:
    """Return a value as it is written on the command line."""
    if isinstance(value, list | tuple):
        return f"'{json.dumps(value)}'"
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_store(run: Run) -> Iterator[Verdict]:
    """Check that the prepared signals are complete, if the preparation is done."""
    if run.record("prepare") is None:
        yield Verdict("pass", "not made yet")
        return
    try:
        store = run.store
    except EcgnbError as error:
        yield Verdict("warn", str(error), "Run the preparation cell again.")
        return
    shape = f"{store.n_leads} leads at {store.fs:g} Hz"
    yield Verdict("pass", f"{len(store)} recordings, {shape}")


def check_splits(run: Run) -> Iterator[Verdict]:
    """Check that no patient, signal, twin or copy is in two splits, if they exist."""
    if run.record("split") is None:
        yield Verdict("pass", "not made yet")
        return
    try:
        records = with_copies(run.records, find_copies(run.store))
        leaks = find_leakage(records, run.splits.parts)
        trained = run.records["label"].iloc[run.splits.train]
    except EcgnbError as error:
        yield Verdict("warn", str(error), "Run the preparation and the split again.")
        return
    if len(leaks):
        yield Verdict(
            "warn",
            f"{describe_leaks(leaks)}.",
            "See `splits.json`; SPLIT='stratified' keeps them in one part.",
        )
    else:
        n_copies = int((records["copy_group"] != "").sum())
        yield Verdict(
            "pass",
            "no patient, identical signal, twin or copy is in two splits "
            f"({n_copies} recordings have copies)",
        )
    if warning := too_short_for_copies(run.store):
        yield Verdict("warn", *warning)
    yield from _check_classes(run, trained, "training recordings")


def check_gpu(run: Run) -> Iterator[Verdict]:
    """Check GPUs and their free memory against the profile."""
    gpus = describe_gpus()
    if not gpus:
        yield _warn_if(
            run.config.profile != "smoke",
            "none; training runs on the CPU",
            "Training a full data set takes hours; a GPU is many times faster.",
        )
    for gpu in gpus:
        free_gb = gpu["free_gb"]  # None where the machine's memory is shared
        yield _warn_if(
            free_gb is not None and free_gb < 4,
            f"{gpu['name']}, {free_gb} GB free",
            "Close other programs on it, or lower BATCH_SIZE_GPU.",
        )


def _warn_if(problem: bool, finding: str, advice: str) -> Verdict:
    return Verdict("warn", finding, advice) if problem else Verdict("pass", finding)


def check_disk(run: Run, leads: Sequence[str] = STANDARD_12) -> Iterator[Verdict]:
    """Check the free space for store, demo cohort and results."""
    data, prepare = run.config.data, run.config.prepare
    if cohort := run.record("cohort"):
        n_records = cohort["results"]["n_recordings"]
    else:
        n_records = data.preprocess_limit or _count_recordings(data, run.root)
    n_bytes = n_records * len(leads) * prepare.target_samples * 2  # int16
    if data.name == "demo":
        n_bytes += n_records * 12 * 5000 * 2  # its WFDB files: 10 s at 500 Hz, int16
    needed = 1.1 * n_bytes + 200e6  # bytes: checkpoints, figures, report of the run
    # The project's folder is made by the first run.
    existing = next(filter(Path.exists, (run.root, *run.root.parents)))
    free = shutil.disk_usage(existing).free
    finding = f"{free / 1e9:.1f} GB free, about {needed / 1e9:.1f} GB needed"
    if free < needed:
        yield Verdict(
            "fail", f"{finding}.", "Free some space, or lower PREPROCESS_LIMIT."
        )
    else:
        yield Verdict("pass", finding)


def _count_recordings(data: DataConfig, root: Path) -> int:
    if data.name == "demo":
        return DEMO_RECORDS
    # A recording may have a header, a signal file and annotations of one name.
    files = _recordings(resolve(data.dataset_dir, root))
    return len({file.with_suffix("") for file in files})


def _recordings(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        reader = reader_for_suffix(file.suffix)
        if reader is not None and reader.is_recording(file):
            yield file
