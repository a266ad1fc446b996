"""Preflight: what could stop or spoil a run, checked before it starts.

A check is a function of the run that returns findings; each has a status (pass, warn,
fail) and says what to do.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ecgnb.core.compatibility import installed_versions, judge_extras, judge_versions
from ecgnb.core.environment import describe_gpus
from ecgnb.core.errors import CheckpointError, ConfigError, EcgnbError
from ecgnb.data.config import DataConfig
from ecgnb.data.labels.assign import DEMO_RECORDS, MAPPING_NAME, resolve
from ecgnb.data.labels.mapping_file import read_mapping
from ecgnb.data.readers.base import reader_for_suffix, recording_suffixes
from ecgnb.run.run import Run

if TYPE_CHECKING:
    from ecgnb.deploy.bundle import Bundle

#: Files by which a folder is recognised as a known data set.
SIGNATURES = {
    "ptbxl": "ptbxl_database.csv",
    "ludb": "ludb.csv",
    "cinc2017": "REFERENCE.csv",
}


@dataclass(frozen=True)
class Finding:
    """One line of the preflight table."""

    check: str
    status: str
    finding: str
    what_to_do: str = ""


def preflight(run: Run) -> pd.DataFrame:
    """Check data, labels, model, store, splits, hardware, disk, versions and extras for
    a run.

    Returns:
        A row a finding: ``check, status (pass | warn | fail), finding, what_to_do``.

    Raises:
        EcgnbError: a check failed; the message lists what failed and what to do.
    """
    checks = (
        check_data, check_labels, check_recipe, check_store, check_splits, check_gpu, check_disk, check_versions,
        check_extras,
    )  # fmt: skip
    findings = [finding for check in checks for finding in check(run)]
    failed = [finding for finding in findings if finding.status == "fail"]
    if failed:
        raise EcgnbError(
            "The preflight found what would stop this run:\n"
            + "\n".join(
                f"- {each.check}: {each.finding} {each.what_to_do}" for each in failed
            )
        )
    return pd.DataFrame([asdict(finding) for finding in findings])


def check_data(run: Run) -> Iterator[Finding]:
    """The data folder is there and holds recordings."""
    data = run.config.data
    if data.name == "demo":
        yield Finding(
            "data",
            "pass",
            f"synthetic demo cohort, {data.preprocess_limit or DEMO_RECORDS} recordings",
        )
        return
    folder = resolve(data.dataset_dir, run.root)
    if not data.dataset_dir or not folder.is_dir():
        yield Finding(
            "data",
            "fail",
            f"DATASET_DIR is {data.dataset_dir!r}, which is no folder ({folder}).",
            "Give the folder of recordings.",
        )
        return
    if not os.access(folder, os.R_OK | os.X_OK):
        yield Finding(
            "data",
            "fail",
            f"{folder} cannot be read.",
            "Give yourself the right to read it.",
        )
        return
    first = next(_recordings(folder), None)
    if first is None:
        kinds = ", ".join(recording_suffixes())
        yield Finding(
            "data",
            "fail",
            f"{folder} holds no recordings.",
            f"Readable are files with {kinds}.",
        )
        return
    yield Finding("data", "pass", f"{folder} holds recordings (such as {first.name})")


def check_labels(run: Run) -> Iterator[Finding]:
    """A label file is there, with its coverage where the cohort is known already."""
    done = run.record("cohort")
    if done:
        results = done["results"]
        share = results["n_labelled"] / max(results["n_found"], 1)
        status = "pass" if share > 0.5 else "warn"
        advice = (
            ""
            if share > 0.5
            else "Look at the coverage table of the cohort and at the label file."
        )
        found = f"{results['n_labelled']} of {results['n_found']} recordings have a label ({share:.0%})"
        yield Finding("labels", status, found, advice)
        return
    data = run.config.data
    if data.name == "demo":
        yield Finding("labels", "pass", "the demo cohort brings its own")
    elif data.name != "folder":
        yield Finding("labels", "pass", f"from the files of {data.name}")
    else:
        yield _label_file(data, run.root)


def _label_file(data: DataConfig, root: Path) -> Finding:
    folder = resolve(data.dataset_dir, root)
    file = (
        resolve(data.mapping_csv, root) if data.mapping_csv else folder / MAPPING_NAME
    )
    if file.is_file():
        try:
            rows = len(read_mapping(file))
        except EcgnbError as error:
            return Finding("labels", "fail", str(error))
        return Finding("labels", "pass", f"{file.name} is there, {rows} rows")
    looks_like = next(
        (
            name
            for name, signature in SIGNATURES.items()
            if (folder / signature).is_file()
        ),
        "",
    )
    advice = "Write it (columns dataset, record_id, mapped_label), or name another with MAPPING_CSV{}."
    hint = (
        f"; this looks like {looks_like}: set DATASET={looks_like!r}"
        if looks_like
        else ""
    )
    return Finding(
        "labels", "fail", f"There is no label file {file}.", advice.format(hint)
    )


def check_recipe(run: Run) -> Iterator[Finding]:
    """Model, options and transforms are ones that can be built; better known now than
    after the preparation.
    """
    import torch

    from ecgnb.deploy.opening import open_bundle
    from ecgnb.models import build_model
    from ecgnb.training.freezing import freeze
    from ecgnb.transforms.pipeline import build_pipeline

    model, prepare, transforms = (
        run.config.model,
        run.config.prepare,
        run.config.transforms,
    )
    n_leads, n_samples, fs = (
        len(prepare.leads) or 12,
        prepare.target_samples,
        prepare.target_fs,
    )
    try:
        pipeline = build_pipeline([*transforms.transforms, *transforms.augment])
        pipeline(
            torch.zeros(1, n_leads, n_samples),
            fs=fs,
            keys=torch.zeros(1, dtype=torch.int64),
        )
        words: Any = {
            "n_leads": n_leads,
            "n_samples": n_samples,
            "fs": fs,
            "n_classes": 2,
            **model.model_options,
        }
        if model.start_from:
            yield from _check_start(run, open_bundle(model.start_from))
        else:
            with torch.device(
                "meta"
            ):  # shapes without numbers: it takes no memory, however large the model
                freeze(build_model(model.model, **words), run.config.training.freeze)
    except (ConfigError, CheckpointError) as error:
        yield Finding("model", "fail", str(error), "Correct that parameter.")
        return
    if run.config.training.freeze and not model.start_from:
        frozen = f"FREEZE={run.config.training.freeze!r} without START_FROM"
        yield Finding(
            "model",
            "warn",
            f"{frozen} freezes random weights.",
            "Give START_FROM, or leave FREEZE out.",
        )
    steps = ", ".join(transform.name for transform in pipeline) or "no transforms"
    yield Finding("model", "pass", f"{model.start_from or model.model} behind {steps}")


def _check_start(run: Run, bundle: Bundle) -> Iterator[Finding]:
    """Refuse recordings that the model to start from cannot take; warn where it has
    learnt from others than these.
    """
    from ecgnb.transforms.pipeline import build_pipeline

    own, learnt = run.config.prepare, bundle.prepare
    names = ("target_fs", "target_samples", "crop", "resampling", "filters")
    wanted = {
        name.upper(): getattr(learnt, name)
        for name in names
        if getattr(own, name) != getattr(learnt, name)
    }
    if build_pipeline(run.config.transforms.transforms) != bundle.transforms:
        wanted["TRANSFORMS"] = bundle.transforms.specs()
    given = f"give {' '.join(f'-p {name} {_as_text(value)}' for name, value in wanted.items())}."
    what = f"START_FROM={run.config.model.start_from!r} was trained otherwise"
    if own.leads and own.leads != learnt.leads:
        raise ConfigError(
            f"{what}, on the leads {', '.join(learnt.leads)}; LEADS is {', '.join(own.leads)}."
        )
    if "TARGET_FS" in wanted or (
        "TARGET_SAMPLES" in wanted and not bundle.model.any_length
    ):
        raise ConfigError(f"{what}: {given}")
    if wanted:
        yield Finding(
            "model", "warn", f"{what}.", f"To prepare as it has learnt, {given}"
        )


def _as_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"'{json.dumps(value)}'"
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_store(run: Run) -> Iterator[Finding]:
    """The prepared signals are there and whole, where preparation is done."""
    if run.record("prepare") is None:
        yield Finding("store", "pass", "not made yet")
        return
    try:
        store = run.store
    except EcgnbError as error:
        yield Finding("store", "warn", str(error), "Run the preparation cell again.")
        return
    yield Finding(
        "store",
        "pass",
        f"{len(store)} recordings, {store.n_leads} leads at {store.fs:g} Hz",
    )


def check_splits(run: Run) -> Iterator[Finding]:
    """No patient and no identical signal is in two splits, where splits are made."""
    from ecgnb.data.splits.splits import find_leakage

    if run.record("split") is None:
        yield Finding("splits", "pass", "not made yet")
        return
    try:
        leaks = find_leakage(run.records, run.splits)
    except EcgnbError as error:
        yield Finding(
            "splits", "warn", str(error), "Run the preparation and the split again."
        )
        return
    if len(leaks):
        what = f"{len(leaks)} patients or identical signals are in two splits."
        yield Finding(
            "splits",
            "warn",
            what,
            "See `splits.json`; use SPLIT='stratified' to keep patients together.",
        )
    else:
        yield Finding(
            "splits", "pass", "no patient and no identical signal in two splits"
        )


def check_gpu(run: Run) -> Iterator[Finding]:
    """The GPU and its memory, against what the profile needs."""
    gpus = describe_gpus()
    if not gpus:
        slow = run.config.profile != "smoke"
        advice = (
            "Training a full data set takes hours; a GPU is many times faster."
            if slow
            else ""
        )
        yield Finding(
            "GPU", "warn" if slow else "pass", "none; training runs on the CPU", advice
        )
    for gpu in gpus:
        tight = gpu["free_gb"] is not None and gpu["free_gb"] < 4
        advice = "Close what else uses it, or lower BATCH_SIZE_GPU." if tight else ""
        yield Finding(
            "GPU",
            "warn" if tight else "pass",
            f"{gpu['name']}, {gpu['free_gb']} GB free",
            advice,
        )


def check_disk(run: Run) -> Iterator[Finding]:
    """Free space against the estimated need of the store, the demo cohort and the
    run.
    """
    config = run.config
    done = run.record("cohort")
    limit = config.data.preprocess_limit
    records = (
        done["results"]["n_recordings"]
        if done
        else limit or _count_recordings(config.data, run.root)
    )
    leads = len(config.prepare.leads) or 12
    stored = records * leads * config.prepare.target_samples * 2  # two bytes a sample
    demo = records * 12 * 5000 * 2 if config.data.name == "demo" else 0
    need = (
        1.1 * (stored + demo) + 200e6
    )  # the run's own files: checkpoints, figures, report
    free = shutil.disk_usage(run.root).free
    finding = f"{free / 1e9:.1f} GB free, about {need / 1e9:.1f} GB needed"
    if free < need:
        yield Finding(
            "disk", "fail", finding + ".", "Free some space, or lower PREPROCESS_LIMIT."
        )
    else:
        yield Finding("disk", "pass", finding)


def _count_recordings(data: DataConfig, root: Path) -> int:
    """Count files of one name once: a recording may be a header, a signal file and
    annotations.
    """
    if data.name == "demo":
        return DEMO_RECORDS
    return len(
        {file.with_suffix("") for file in _recordings(resolve(data.dataset_dir, root))}
    )


def _recordings(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        reader = reader_for_suffix(file.suffix)
        if reader is not None and reader.is_recording(file):
            yield file


def check_versions(_: Run) -> Iterator[Finding]:
    """Versions of Python and the libraries: what breaks, and what is good to know."""
    for verdict in judge_versions(installed_versions()):
        yield Finding("versions", *verdict)


def check_extras(_: Run) -> Iterator[Finding]:
    """Which optional packages are installed."""
    yield Finding("extras", *judge_extras(installed_versions()))
